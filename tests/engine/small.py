"""An engine of a page, which keeps every promise: for the kit, and to be broken by its test.

A turn takes `STEP_SECONDS` and brings a few samples a step further; pictures are their seeds.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from itertools import count
from typing import Any

from gateway.catalog.abilities import Abilities
from gateway.catalog.cards import CardError
from gateway.catalog.collection import Collection
from gateway.engine.protocol import EngineStatus, LoadedEndpoint
from gateway.engine.stream import JobEvents
from gateway.errors import GatewayError, ModelNotFound, Overloaded, ShuttingDown
from gateway.job import Event, Failed, Finished, Job, Pixels, Preview, StepDone

STEP_SECONDS = 0.001
TORN = "torn"
"""The route of an adapter that cannot be used, and the prompt that cannot be drawn."""


class Drawing:
    """A sample in progress."""

    def __init__(self, job: Job, number: int, arrival: int, events: "asyncio.Queue[Event]") -> None:
        self.job = job
        self.number = number
        self.arrival = arrival
        self.events = events
        self.num_steps_done = 0
        self.is_cancelled = False

    @property
    def num_steps_left(self) -> int:
        return self.job.num_inference_steps - self.num_steps_done

    def tell(self, event: Event) -> None:
        self.events.put_nowait(event)

    def fail(self, code: str | None, message: str) -> None:
        self.tell(Failed(self.number, code or "generation_failed", message))


class SmallEngine:
    """Implements `protocol.Engine`; `places` are those of its door, for each priority."""

    def __init__(self, collection: Collection, max_batch: int = 2, places: int = 16) -> None:
        self.collection = collection
        self.max_batch = max_batch
        self.places = places
        self.inside: list[Drawing] = []
        self.adapters: set[tuple[str, str]] = set()
        self.loaded: set[str] = set()
        self.is_stopped = False
        self._arrivals = count()
        self._turning: asyncio.Task[None] | None = None

    def submit(self, job: Job) -> AsyncGenerator[Event]:
        self.check_is_open()
        self.check_is_served(job.endpoint)
        self.check_door(job)
        events: asyncio.Queue[Event] = asyncio.Queue()
        drawings = [
            Drawing(job, number, next(self._arrivals), events) for number in range(len(job.seeds))
        ]
        self.inside += drawings

        def cancel() -> None:
            for drawing in drawings:
                drawing.is_cancelled = True

        return JobEvents(events, len(drawings), cancel)

    def status(self) -> EngineStatus:
        running = self.due() if self._turning else []
        seconds = sum(one.num_steps_left for one in self.inside) * STEP_SECONDS
        return EngineStatus(
            ready=self._turning is not None and not self.is_stopped,
            fault="stopping" if self.is_stopped else None,
            num_running=len(running),
            num_waiting=len(self.inside) - len(running),
            loaded=tuple(
                LoadedEndpoint(id, "Small", "cpu", 1, tuple(
                    sorted(route for owner, route in self.adapters if owner == id)
                ))
                for id in sorted(self.loaded)
            ),
            queued_seconds=seconds,
        )  # fmt: skip

    def runs_scheduler(self, endpoint: str, name: str | None, config: Mapping[str, Any]) -> bool:
        return name is None

    def abilities(self, endpoint: str) -> Abilities | None:
        return None

    async def load_adapter(self, endpoint: str, route: str) -> None:
        self.check_is_served(endpoint)
        self.collection.latest.adapter(endpoint, route)
        while self._turning is None and not self.is_stopped:
            await asyncio.sleep(STEP_SECONDS)
        self.check_is_open()
        if route == TORN:
            raise CardError("its file is torn")
        self.loaded.add(endpoint)
        self.adapters.add((endpoint, route))

    def notice(self) -> None:
        self.adapters &= self.collection.latest.adapters.keys()

    async def start(self) -> None:
        if not self.is_stopped and self._turning is None:
            self._turning = asyncio.create_task(self._turn_on())

    async def stop(self, grace_seconds: float) -> None:
        self.is_stopped = True
        deadline = time.monotonic() + grace_seconds
        while self.inside and time.monotonic() < deadline:
            await asyncio.sleep(STEP_SECONDS)
        if self._turning:
            self._turning.cancel()
            with suppress(asyncio.CancelledError):
                await self._turning
        for drawing in self.inside:
            drawing.fail(ShuttingDown.code, "It stops.")
        self.inside.clear()

    def check_is_open(self) -> None:
        if self.is_stopped:
            raise ShuttingDown("It stops.", retry_after_seconds=1)

    def check_is_served(self, endpoint: str) -> None:
        if endpoint not in self.collection.latest.endpoints:
            raise ModelNotFound(f"There is no {endpoint}.")

    def check_door(self, job: Job) -> None:
        alike = [one for one in self.inside if one.job.priority == job.priority]
        if len(alike) + len(job.seeds) > self.places:
            raise Overloaded("The door is full.", retry_after_seconds=1)

    def due(self) -> list[Drawing]:
        """Those that the next turn is for."""
        inorder = sorted(self.inside, key=lambda one: (one.job.priority == "batch", one.arrival))
        return inorder[: self.max_batch]

    async def _turn_on(self) -> None:
        while True:
            await asyncio.sleep(STEP_SECONDS)
            for drawing in self.inside.copy():
                self.end_unwanted(drawing)
            for drawing in self.due():
                try:
                    self.advance(drawing)
                except GatewayError as error:
                    drawing.fail(error.code, error.message)
                    self.inside.remove(drawing)

    def end_unwanted(self, drawing: Drawing) -> None:
        if drawing.is_cancelled:
            drawing.fail("cancelled", "Nobody waits for it.")
        elif drawing.job.deadline and time.monotonic() > drawing.job.deadline:
            drawing.fail("deadline_exceeded", "It is too late.")
        else:
            return
        self.inside.remove(drawing)

    def advance(self, drawing: Drawing) -> None:
        """Bring a sample a step further, or to its end."""
        job = drawing.job
        for use in job.adapters:
            self.collection.latest.adapter(job.endpoint, use.route)
            self.adapters.add((job.endpoint, use.route))
        self.loaded.add(job.endpoint)
        if drawing.num_steps_left:
            drawing.num_steps_done += 1
            step = drawing.num_steps_done
            drawing.tell(StepDone(drawing.number, step, job.num_inference_steps))
            if step <= job.num_previews:
                drawing.tell(Preview(drawing.number, step - 1, Pixels(1, 1, 3, bytes(3))))
        elif TORN in job.prompt:
            raise GatewayError("It cannot be drawn.", code="generation_failed")
        else:
            drawing.tell(Finished(drawing.number, self.picture(drawing), "Small"))
            self.inside.remove(drawing)

    def picture(self, drawing: Drawing) -> Pixels:
        job = drawing.job
        data = bytes((job.seeds[drawing.number] % 256,)) * (3 * job.width * job.height)
        return Pixels(job.width, job.height, 3, data)
