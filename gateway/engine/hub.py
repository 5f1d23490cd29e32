"""The loop of one device: start samples, answer their parked model calls in shared forwards.

One thread owns the hub, and torch. A turn ends what nobody waits for, starts what may
start, picks the endpoint that is due, and advances its samples by one model call each. An
idle hub blocks on its inbox.
"""

import math
import queue
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import structlog
import torch

from gateway.engine.device.cuda import timeline_of
from gateway.engine.device.heap import REST_SECONDS, Heap
from gateway.engine.device.pacing import Pacing, Timeline
from gateway.engine.device.pulse import Pulse
from gateway.engine.forwards.forwards import Forwards
from gateway.engine.forwards.lanes import Lanes
from gateway.engine.loading.construction import TURNS
from gateway.engine.loading.shelf import Shelf
from gateway.engine.meeting import Meeting
from gateway.engine.pipelines.reading import reader
from gateway.engine.sample import Sample
from gateway.engine.turns import (
    Company,
    Pace,
    Room,
    Shares,
    account,
    next_to_advance,
    next_to_start,
)
from gateway.errors import GatewayError, ShuttingDown

Command = Callable[[], None]

log = structlog.get_logger()


class Hub:
    """Samples in, events out, for the endpoints of one device."""

    def __init__(
        self,
        shelf: Shelf,
        device: torch.device,
        max_batch: int,
        threads: int,
        timeline: Timeline | None = None,
    ) -> None:
        self.shelf = shelf
        self.device = device
        self.max_batch = max_batch
        self.waiting: list[Sample] = []
        self.running: list[Sample] = []
        self.paces: dict[str, Pace] = {}
        self.pulse = Pulse()
        self.pacing = Pacing(timeline or timeline_of(device), self.tell, self.pulse)
        self.lanes = Lanes(device)
        self.forwards = Forwards(shelf.adapters, self.pacing, self.lanes)
        self._inbox: queue.SimpleQueue[Command] = queue.SimpleQueue()
        self._endpoints = Shares()
        self._owners = Shares()
        self._companies: defaultdict[str, Company] = defaultdict(Company)
        self._meetings: defaultdict[str, Meeting] = defaultdict(Meeting)
        self._held_until: float | None = None
        self._threads = threads
        self._is_stopping = False
        self._heap = Heap()
        self._thread = threading.Thread(target=self._run, name=f"engine-{device}", daemon=True)
        shelf.watch(lambda: self.running, self.forwards.forget)

    @property
    def lives(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Start the thread that owns the device, once."""
        if self._thread.ident is None:
            self._thread.start()

    def tell(self, command: Command) -> None:
        """Have the thread do something between two turns; safe from any thread."""
        self._inbox.put(command)

    def add(self, samples: list[Sample]) -> None:
        """Let a job's samples wait; call it on the thread."""
        self.shelf.look(samples[0].job)
        self._meetings[samples[0].endpoint].came(len(samples))
        self.waiting += samples

    def stop(self) -> None:
        """Fail what is unfinished and end the thread; safe from any thread."""
        self.tell(self._stop)
        self.start()  # where it never ran, somebody may wait for it

    def join(self, seconds: float) -> None:
        """Wait for the thread to end."""
        self._thread.join(seconds)

    @torch.inference_mode()
    def _run(self) -> None:
        if self._threads:
            torch.set_num_threads(self._threads)
        while not self._is_stopping:
            try:
                with TURNS.running():
                    is_busy = self._can_turn() or self._can_prepare()
                self.take_commands(block=not is_busy)
                with TURNS.running(), self.pulse.turn():
                    self.turn()
            except Exception as error:
                # Ours, not a sample's: whoever was on the way is told, and the loop lives on.
                log.error("turn failed", exc_info=error)
                self._refuse_all(error)

    def turn(self) -> None:
        """End what nobody waits for, start what may, advance the endpoint that is due."""
        self._end_the_dead()
        self._start()
        if self.pacing.has_room and (going := self._all_due()):
            for line, due in self.pacing.lines(going):
                with line:
                    self._advance(due)
        self._settle()

    def take_commands(self, *, block: bool = False) -> None:
        """Do every command that has arrived; with `block`, wait for one first."""
        try:
            command = self._inbox.get(block, timeout=self._until_due() if block else None)
        except queue.Empty:
            if block and not (self.running or self.waiting):
                self._heap.rest()
            return
        with TURNS.running():
            command()
        while not self._inbox.empty():
            command = self._inbox.get_nowait()
            with TURNS.running():
                command()

    def _all_due(self) -> list[Sample]:
        """Those of one endpoint that the next forwards are for; none where all are held back."""
        self._held_until = None
        until = math.inf
        parked = [sample for sample in self.running if sample.parked]
        self._endpoints.meet({sample.endpoint for sample in parked})
        while parked:
            endpoint = self._next_endpoint(parked)
            mine = [sample for sample in parked if sample.endpoint == endpoint]
            going, held_until = self._going(endpoint, mine)
            if going:
                return going
            until = min(until, held_until)
            parked = [sample for sample in parked if sample.endpoint != endpoint]
        self._held_until = until if until < math.inf else None
        return []

    def _next_endpoint(self, parked: list[Sample]) -> str:
        """Of the owner that has had least, on whatever endpoints, the endpoint that has."""
        owner = self._owners.least({account(sample) for sample in parked})
        return self._endpoints.least(
            {sample.endpoint for sample in parked if account(sample) == owner}
        )

    def _going(self, endpoint: str, parked: list[Sample]) -> tuple[list[Sample], float]:
        """Of an endpoint's samples those that the next forward is for, and when others may be."""
        running, waiting = (
            [one for one in samples if one.endpoint == endpoint]
            for samples in (self.running, self.waiting)
        )
        now = time.monotonic()
        self._companies[endpoint].note(running, waiting, now)
        going = self._advancing(endpoint, parked)
        held = self._meetings[endpoint].waits(
            going,
            lambda one: self._best_size(one) or self.max_batch,
            self.forwards.seconds_of,
            now,
        )
        for sample in held:
            sample.held_since = sample.held_since or now
        until = now + min(held.values(), default=math.inf)
        return [sample for sample in going if sample not in held], until

    def _advancing(self, endpoint: str, samples: list[Sample]) -> list[Sample]:
        """Of an endpoint's samples those whose turn it would be, were all of them parked."""
        company, pace = self._companies[endpoint], self._pace(endpoint)
        return next_to_advance(
            samples,
            self.shelf.max_batch(endpoint, self.max_batch),
            lambda pixels: company.allows(pixels, pace.turn_seconds),
            lambda sample: 1 / best if (best := self._best_size(sample)) else 0.0,
        )

    def _best_size(self, sample: Sample) -> int | None:
        return self.forwards.best_size(sample.endpoint, sample.pixels)

    def _pace(self, endpoint: str) -> Pace:
        return self.paces.setdefault(endpoint, Pace())

    def _advance(self, due: list[Sample]) -> None:
        self._heap.work()
        endpoint = due[0].endpoint
        begin = [sample for sample in due if not sample.num_steps_done]
        before = sum(sample.num_steps_done for sample in due)
        steps = num_done = 0

        def passed(seconds: float) -> None:
            is_batch = all(sample.is_batch for sample in due)
            self._endpoints.charge(endpoint, seconds, is_batch=is_batch)
            pixels = sum(sample.pixels for sample in due)
            for sample in due:
                part = seconds * sample.pixels / pixels
                self._owners.charge(account(sample), part, is_batch=sample.is_batch)
            self._pace(endpoint).note(seconds, steps, len(due), pixels, num_done)

        with self.pacing.turn(passed, endpoint), self.shelf.measured(endpoint):
            for answered in self.forwards.answer(due):
                # Who ends here is told so while the others' forward runs.
                for sample in answered:
                    sample.go_on()
                    self._set_aside(sample)
            steps = sum(sample.num_steps_done for sample in due) - before
            num_done = sum(sample.is_done for sample in due)
        if any(sample.num_steps_done for sample in begin):
            self._meetings[endpoint].begun()

    def _set_aside(self, sample: Sample) -> None:
        """Leave a sample to the reader while it waits for a long text."""
        reading, sample.reading = sample.reading, None
        if reading is not None:
            reader().add(reading, lambda *end: self.tell(lambda: self._take_up(sample, *end)))

    def _take_up(self, sample: Sample, result: Any, error: Exception | None) -> None:
        """Go on with a sample whose text has been read, unless it ended meanwhile."""
        if sample.is_done:
            return
        if error is None:
            sample.answer(result)
        else:
            sample.fail(error)
        sample.go_on()
        self._set_aside(sample)

    def _can_turn(self) -> bool:
        if not self.pacing.has_room:
            return False  # what has been done is told by a command
        if self._has_dead() or self._startable(self._useful()):
            return True
        return not self._is_held and any(sample.parked for sample in self.running)

    def _can_prepare(self) -> bool:
        """Whether something was made ready for later, which takes longer than who is held."""
        return self._held_until is None and self.lanes.prepare()

    @property
    def _is_held(self) -> bool:
        """Whether those who are parked wait for others, and will go on by themselves."""
        return self._held_until is not None and time.monotonic() < self._held_until

    def _has_dead(self) -> bool:
        return any(sample.is_unwanted for sample in self.waiting)

    def _until_due(self) -> float | None:
        """Seconds until something is to be done without being told."""
        now = time.monotonic()
        due = [one.job.deadline - now for one in self.waiting if one.job.deadline]
        due += [self._held_until - now] if self._held_until else []
        due += [REST_SECONDS] if self._heap.is_used else []
        return max(0.001, min(due)) if due else None

    def _end_the_dead(self) -> None:
        """End samples that were cancelled or came too late, before any work for them."""
        for sample in (*self.waiting, *self.running):
            if sample.is_unwanted:
                sample.refuse(sample.reason())
        self.waiting = [sample for sample in self.waiting if not sample.is_done]

    def _start(self) -> None:
        ready = [sample for sample in self.waiting if self.shelf.is_ready(sample.job)]
        self._owners.meet({account(sample) for sample in (*self.running, *ready)})
        useful = self._useful()
        while sample := next_to_start(self._startable(useful), self.running, self._owners.had):
            useful.remove(sample)
            self.waiting.remove(sample)
            self.running.append(sample)
            try:
                material = self.shelf.take(sample.job)
            except Exception as error:
                sample.refuse(error)
                continue
            sample.start(
                material, self.pacing.follow, alone=self.shelf.runs_alone(sample.endpoint)
            )
            self._set_aside(sample)

    def _useful(self) -> list[Sample]:
        """Waiting samples that would go along, had they begun: others would only wait further on.

        What one needs and is not there is asked for.
        """
        ready = [sample for sample in self.waiting if self.shelf.is_ready(sample.job)]
        going: set[Sample] = set()
        for endpoint in {sample.endpoint for sample in ready}:
            there = [one for one in (*self.running, *ready) if one.endpoint == endpoint]
            going.update(self._advancing(endpoint, there))
        return [sample for sample in ready if sample in going]

    def _startable(self, useful: list[Sample]) -> list[Sample]:
        """Of the useful samples those that have room."""
        if not useful:
            return []
        rooms = {id: self._room(id) for id in {one.endpoint for one in useful}}
        busy = {one.endpoint for one in self.running if self.shelf.runs_alone(one.endpoint)}
        there = [one for one in useful if one.endpoint not in busy]
        return [one for one in there if rooms[one.endpoint].is_for(one)]

    def _room(self, endpoint: str) -> Room:
        max_batch = self.shelf.max_batch(endpoint, self.max_batch)
        return Room(self.running, max_batch, self._companies)

    def _settle(self) -> None:
        """Let go of samples that ended, and of the device where an endpoint has none left."""
        for sample in [sample for sample in self.running if sample.must_be_alone]:
            self.shelf.have_run_alone(sample.endpoint)
            self.running.remove(sample)
            self.waiting.insert(0, sample)
        ended = [sample for sample in self.running if sample.is_done]
        for sample in ended:
            if sample.fault is not None and not isinstance(sample.fault, GatewayError):
                log.error("sample failed", job=sample.job.id, exc_info=sample.fault)
        self.running = [sample for sample in self.running if not sample.is_done]
        busy = Counter(sample.endpoint for sample in self.running)
        for endpoint, num_samples in Counter(sample.endpoint for sample in ended).items():
            self._meetings[endpoint].left(num_samples)
            if endpoint not in busy:
                self.shelf.rest(endpoint)

    def _stop(self) -> None:
        self._is_stopping = True
        self._refuse_all(ShuttingDown("The server is shutting down.", retry_after_seconds=5))
        self.shelf.close()

    def _refuse_all(self, error: Exception) -> None:
        samples = [*self.running, *self.waiting]
        self.running, self.waiting = [], []
        for sample in samples:
            sample.refuse(error)
