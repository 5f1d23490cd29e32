"""The loop of one device: start samples, answer their parked model calls in shared forwards.

One thread owns the hub, and torch. A turn takes what arrived, starts what may start,
picks the endpoint that is due, and answers every parked call of it: calls of equal group
key in one forward. An idle hub blocks on its inbox.
"""

import queue
import threading
import time
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Hashable
from typing import Any

import structlog
import torch

from gateway import metrics
from gateway.engine.adapters import Rows
from gateway.engine.merge import batch_of, content_key, group_key, merge, split
from gateway.engine.parking import Entry
from gateway.engine.sample import Sample, is_out_of_memory
from gateway.engine.shelf import Shelf
from gateway.engine.turns import Shares, next_to_start
from gateway.errors import GatewayError, ShuttingDown

Command = Callable[[], None]
NUM_REMEMBERED = 64
"""Text-encoder results kept, so that one prompt is encoded once for many pictures."""

log = structlog.get_logger()


class Hub:
    """Samples in, events out, for the endpoints of one device."""

    def __init__(self, shelf: Shelf, device: torch.device, max_batch: int, threads: int) -> None:
        self.shelf = shelf
        self.device = device
        self.max_batch = max_batch
        self.waiting: list[Sample] = []
        self.running: list[Sample] = []
        self.batch_sizes: deque[int] = deque(maxlen=64)
        self.step_seconds: dict[str, float] = {}
        self._inbox: queue.SimpleQueue[Command] = queue.SimpleQueue()
        self._shares = Shares()
        self._remembered: OrderedDict[Hashable, Any] = OrderedDict()
        self._threads = threads
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name=f"engine-{device}", daemon=True)

    def start(self) -> None:
        """Start the thread that owns the device."""
        self._thread.start()

    def tell(self, command: Command) -> None:
        """Have the thread do something between two turns; safe from any thread."""
        self._inbox.put(command)

    def stop(self) -> None:
        """Fail what is unfinished and end the thread; safe from any thread."""
        self.tell(self._stop)

    def join(self, seconds: float) -> None:
        """Wait for the thread to end."""
        self._thread.join(seconds)

    @torch.inference_mode()
    def _run(self) -> None:
        if self._threads:
            torch.set_num_threads(self._threads)
        while not self._is_stopping:
            self.take_commands(block=not self._can_turn())
            if not self._is_stopping:
                self.turn()

    def turn(self) -> None:
        """Start what may start, then answer every parked call of the endpoint that is due."""
        self._drop_the_dead()
        self._start()
        parked = [sample for sample in self.running if sample.parked]
        if not parked:
            return
        endpoint = self._shares.next({sample.endpoint for sample in parked})
        began = time.perf_counter()
        due = [sample for sample in parked if sample.endpoint == endpoint]
        for group in self._groups(due):
            self._answer(group)
        for sample in due:
            sample.go_on()
        self._settle()
        self._shares.charge(endpoint, time.perf_counter() - began)

    def _can_turn(self) -> bool:
        return any(sample.parked for sample in self.running) or any(
            self.shelf.is_ready(sample.job) or sample.is_cancelled for sample in self.waiting
        )

    def take_commands(self, *, block: bool = False) -> None:
        """Do every command that has arrived; with `block`, wait for one first."""
        try:
            command = self._inbox.get(block, timeout=self._until_deadline() if block else None)
            while True:
                command()
                command = self._inbox.get_nowait()
        except queue.Empty:
            return

    def _until_deadline(self) -> float | None:
        deadlines = [sample.job.deadline for sample in self.waiting if sample.job.deadline]
        return max(0.001, min(deadlines) - time.time()) if deadlines else None

    def _drop_the_dead(self) -> None:
        """End waiting samples that were cancelled or came too late, before any work."""
        for sample in [one for one in self.waiting if one.is_cancelled or one.is_late]:
            self.waiting.remove(sample)
            sample.refuse(sample.reason())

    def _start(self) -> None:
        while sample := next_to_start(self._startable(), self.running):
            self.waiting.remove(sample)
            try:
                loaded = self.shelf.take(sample.job)
                pipeline = loaded.pipeline_for(sample.job)
            except Exception as error:
                sample.refuse(error)
                continue
            self.running.append(sample)
            sample.start(pipeline, loaded.base)
        self._settle()

    def _startable(self) -> list[Sample]:
        room: dict[str, int] = defaultdict(lambda: self.max_batch)
        for sample in self.running:
            room[sample.endpoint] -= 1
        return [
            sample
            for sample in self.waiting
            if room[sample.endpoint] > 0 and self.shelf.is_ready(sample.job)
        ]

    def _settle(self) -> None:
        """Let go of samples that ended."""
        for sample in self.running:
            if sample.is_done and isinstance(sample.result, Exception):
                error = sample.result
                if not isinstance(error, GatewayError):
                    log.error("sample failed", job=sample.job.id, exc_info=error)
        self.running = [sample for sample in self.running if not sample.is_done]
        metrics.QUEUE_DEPTH.set(len(self.waiting))
        metrics.RUNNING.set(len(self.running))

    def _groups(self, samples: list[Sample]) -> list[list[Sample]]:
        groups: dict[Hashable, list[Sample]] = {}
        for sample in samples:
            call = sample.parked
            assert call is not None
            key = (id(call.entry), group_key(call.args, call.kwargs))
            groups.setdefault(key, []).append(sample)
        return list(groups.values())

    def _answer(self, group: list[Sample]) -> None:
        """One forward for a group; out of memory halves it, another fault fails its members."""
        try:
            for sample, result in zip(group, self._results(group), strict=True):
                sample.answer(result)
        except Exception as error:
            if is_out_of_memory(error) and len(group) > 1:
                self._clear_device_memory()
                middle = len(group) // 2
                self._answer(group[:middle])
                self._answer(group[middle:])
                return
            log.error("forward failed", samples=len(group), exc_info=error)
            for sample in group:
                sample.fail(error)

    def _results(self, group: list[Sample]) -> list[Any]:
        """The group's results; identical calls on integers (text encoders) are computed once."""
        keys = [self._content(sample) for sample in group]
        if None in keys:
            return self._forward(group)
        unique = {key: sample for key, sample in zip(keys, group, strict=True)}
        missing = {key: one for key, one in unique.items() if key not in self._remembered}
        if missing:
            fresh = self._forward(list(missing.values()))
            self._remembered.update(zip(missing, fresh, strict=True))
        results = [self._remembered[key] for key in keys]
        while len(self._remembered) > NUM_REMEMBERED:
            self._remembered.popitem(last=False)
        return results

    def _content(self, sample: Sample) -> Hashable | None:
        call = sample.parked
        assert call is not None
        key = content_key(call.args, call.kwargs)
        return None if key is None else (id(call.entry), sample.job.adapters, key)

    def _forward(self, group: list[Sample]) -> list[Any]:
        calls = [sample.parked for sample in group]
        batches = [batch_of(call.args, call.kwargs) for call in calls if call]
        entry = calls[0].entry if calls[0] else None
        assert entry is not None
        args, kwargs = merge([(call.args, call.kwargs) for call in calls if call])
        adapters = self.shelf.adapters(group[0].endpoint)
        uses: Rows = [
            sample.job.adapters
            for sample, batch in zip(group, batches, strict=True)
            for _ in range(batch.rows)
        ]
        began = time.perf_counter()
        adapters.use(uses)
        try:
            result = entry.original(*args, **kwargs)
        finally:
            adapters.use(())
        self._note(entry, group, time.perf_counter() - began)
        return split(result, batches)

    def _note(self, entry: Entry, group: list[Sample], seconds: float) -> None:
        endpoint = group[0].endpoint
        metrics.BATCH_SIZE.labels(endpoint, entry.component).observe(len(group))
        if entry.method == "forward" and entry.component in ("unet", "transformer"):
            metrics.STEP_SECONDS.labels(endpoint).observe(seconds)
            self.batch_sizes.append(len(group))
            known = self.step_seconds.get(endpoint, seconds)
            self.step_seconds[endpoint] = 0.8 * known + 0.2 * seconds

    def _clear_device_memory(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _stop(self) -> None:
        self._is_stopping = True
        for sample in [*self.running, *self.waiting]:
            sample.refuse(ShuttingDown("The server is shutting down.", retry_after_seconds=5))
        self.running, self.waiting = [], []


