"""The engine inside this process: the event loop here, one thread per device there."""

import asyncio
import functools
import itertools
import time
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from types import TracebackType
from typing import Any, get_args
from uuid import uuid4

import torch

from gateway.accounts.admission import Asker, Door
from gateway.catalog.abilities import Abilities
from gateway.catalog.catalog import Catalog
from gateway.engine.abilities import abilities_of
from gateway.engine.forecast import leaving, seconds_to_finish
from gateway.engine.hub import Hub
from gateway.engine.loading import device_of
from gateway.engine.protocol import EngineStatus, LoadedEndpoint
from gateway.engine.sample import Sample
from gateway.engine.schedulers import Schedulers
from gateway.engine.shelf import Shelf
from gateway.engine.turns import Pace
from gateway.errors import GatewayError, GenerationFailed, Overloaded, ShuttingDown
from gateway.job import Event, Failed, Finished, Job, Priority
from gateway.settings import Settings
from gateway.telemetry import metrics

POLL_SECONDS = 0.02
FINAL_SECONDS = 10.0
"""How long a thread may take over its last forward when the engine stops."""


class LocalEngine:
    """Implements `protocol.Engine` with stock pipelines in this process."""

    def __init__(self, catalog: Catalog, settings: Settings) -> None:
        self._catalog = catalog
        self._settings = settings
        self._schedulers = Schedulers(catalog.endpoints)
        self._abilities: dict[str, Abilities] = {}
        self._arrivals = itertools.count()
        self._open: set[Sample] = set()
        self._is_started = False
        self._is_draining = False
        self._start_fault: str | None = None
        self._hubs: dict[torch.device, Hub] = {}
        devices = {id: device_of(card, settings.device) for id, card in catalog.endpoints.items()}
        for device in dict.fromkeys(devices.values()):
            self._hubs[device] = self._new_hub(device, devices)
        self._hub_of = {id: self._hubs[device] for id, device in devices.items()}
        places = settings.max_waiting + settings.max_batch
        # Those that run, and half as many to follow them.
        num_busy = settings.max_batch + min(settings.max_batch, settings.max_waiting) // 2
        self._doors = {
            (hub, priority): Door(places, num_busy)
            for hub in self._hubs.values()
            for priority in get_args(Priority)
        }

    def submit(self, job: Job) -> AsyncGenerator[Event]:
        """Admit a job and return its events; see `protocol.Engine`."""
        if self._is_draining:
            raise ShuttingDown("The server is shutting down.", retry_after_seconds=5)
        loop, events = asyncio.get_running_loop(), asyncio.Queue[Event]()

        def told(event: Event) -> None:
            if isinstance(event, Finished | Failed):
                self._open.discard(samples[event.sample])
            events.put_nowait(event)

        def emit(event: Event) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(told, event)

        samples = [
            Sample(job, number, next(self._arrivals), emit) for number in range(len(job.seeds))
        ]
        self._check_door(job, samples)
        self._open.update(samples)
        hub = self._hub_of[job.endpoint]
        hub.tell(lambda: hub.waiting.extend(samples))
        return JobEvents(hub, samples, events)

    def status(self) -> EngineStatus:
        """What is loaded, running and waiting right now."""
        hubs = list(self._hubs.values())
        num_running = sum(not one.is_done for hub in hubs for one in hub.running.copy())
        paces = {id: pace for hub in hubs for id, pace in hub.paces.copy().items()}
        fault = self._fault()
        return EngineStatus(
            ready=self._is_started and fault is None,
            fault=fault,
            num_running=num_running,
            num_waiting=max(0, len(self._open) - num_running),
            loaded=tuple(
                LoadedEndpoint(
                    id=id,
                    pipeline=type(loaded.base).__name__,
                    device=str(loaded.device),
                    size_bytes=loaded.size_bytes,
                    adapters=loaded.adapters.routes,
                    warm=id in paces and paces[id].seconds_per_sample_step > 0,
                )
                for hub in hubs
                for id, loaded in hub.shelf.loaded.items()
            ),
            batch_sizes=tuple(size for hub in hubs for size in hub.forwards.batch_sizes.copy()),
            step_seconds={id: pace.step_seconds for id, pace in paces.items()},
        )

    def runs_scheduler(
        self, endpoint: str, name: str | None, config: Mapping[str, Any]
    ) -> bool | None:
        """Whether a model takes a scheduler; see `protocol.Engine`."""
        return self._schedulers.runs(endpoint, name, config)

    def abilities(self, endpoint: str) -> Abilities | None:
        """What an endpoint's pipeline can hear of a request; see `protocol.Engine`."""
        if endpoint not in self._abilities:
            found = abilities_of(self._catalog.endpoints[endpoint])
            if found is None:
                return None
            self._abilities[endpoint] = found
        return self._abilities[endpoint]

    async def start(self) -> None:
        """Start the device threads; with `preload`, load and warm every endpoint.

        Raises:
            GenerationFailed: an endpoint to preload could not be loaded or run.
        """
        for device, hub in self._hubs.items():
            hub.start()
            if device.type == "cuda":
                gauge = metrics.DEVICE_MEMORY.labels(str(device))
                gauge.set_function(functools.partial(torch.cuda.memory_allocated, device))
        if self._settings.preload:
            try:
                for id in self._catalog.endpoints:
                    await self._warm_up(id)
            except GatewayError as error:
                self._start_fault = error.message
                raise
        self._is_started = True
        await asyncio.to_thread(self._schedulers.warm)

    async def stop(self, grace_seconds: float) -> None:
        """Refuse new jobs, let running ones finish for up to the grace, fail the rest."""
        self._is_draining = True
        deadline = time.monotonic() + grace_seconds
        while self._open and time.monotonic() < deadline:
            await asyncio.sleep(POLL_SECONDS)
        for hub in self._hubs.values():
            hub.stop()
            hub.shelf.close()
        for hub in self._hubs.values():
            await asyncio.to_thread(hub.join, FINAL_SECONDS)

    def _fault(self) -> str | None:
        """What keeps the engine from drawing, unless it is only loading."""
        if self._is_draining:
            return "stopping"
        for device, hub in self._hubs.items():
            if (seconds := hub.pulse.stuck_seconds) is not None:
                return f"{device} has been in one turn for {seconds:.0f} s"
            if self._is_started and not hub.lives:
                return f"the thread of {device} has ended"
        return self._start_fault

    def _new_hub(self, device: torch.device, devices: dict[str, torch.device]) -> Hub:
        settings = self._settings
        shelf = Shelf(
            self._catalog,
            devices,
            endpoint_gib=settings.endpoint_gib,
            adapter_gib=settings.adapter_gib,
            tell=lambda command: hub.tell(command),  # noqa: PLW0108  the hub comes after
        )
        hub = Hub(shelf, device, settings.max_batch, settings.threads)
        return hub

    def _check_door(self, job: Job, samples: list[Sample]) -> None:
        """Refuse what would wait too long, before any work.

        Raises:
            Overloaded: with the seconds after which there should be room.
        """
        hub, max_batch = self._hub_of[job.endpoint], self._settings.max_batch
        near = [sample for sample in self._open if self._hub_of[sample.endpoint] is hub]
        near.sort(key=lambda sample: sample.arrival)
        inside = [sample for sample in near if sample.job.priority == job.priority]
        seconds = self._doors[hub, job.priority].ask(
            Asker(job.owner, job.claim or job.id, len(samples), is_own=not job.claim),
            time.monotonic(),
            Counter(sample.owner for sample in inside),
            lambda: leaving(inside, samples[0], self._pace, max_batch),
        )
        if seconds is not None:
            raise Overloaded("The engine is busy. Try again later.", retry_after_seconds=seconds)
        if job.deadline is None:
            return
        needed = seconds_to_finish(near, samples, self._pace, max_batch)
        if (late := time.time() + needed - job.deadline) > 0:
            raise Overloaded(
                "The queue is too long for this request's deadline.",
                retry_after_seconds=max(1.0, late),
            )

    def _pace(self, endpoint: str) -> Pace:
        return self._hub_of[endpoint].paces.get(endpoint, Pace())

    async def _warm_up(self, id: str) -> None:
        """Load an endpoint and run one picture of it in the fewest steps.

        Raises:
            GenerationFailed: it could not be loaded or run.
        """
        card = self._catalog.endpoints[id]
        width, height = card.sizes.native
        job = Job(
            id=f"warm-up-{uuid4().hex}",
            endpoint=id,
            prompt="warm-up",
            num_inference_steps=card.steps.min,
            guidance_scale=card.guidance.default,
            width=width,
            height=height,
            seeds=(0,),
            arguments=card.call_arguments(card.steps.min),
        )
        async for event in self.submit(job):
            if isinstance(event, Failed):
                raise GenerationFailed(f"endpoint '{id}' cannot run: {event.message}")


class JobEvents(AsyncGenerator[Event]):
    """The events of a job's samples as they come; closed or dropped early, it cancels them.

    Not a generator function: one that is never begun would never clean up.
    """

    def __init__(self, hub: Hub, samples: list[Sample], events: "asyncio.Queue[Event]") -> None:
        self._hub = hub
        self._samples = samples
        self._events = events
        self._num_open = len(samples)

    async def asend(self, value: Any) -> Event:
        """The next event."""
        if not self._num_open:
            raise StopAsyncIteration
        event = await self._events.get()
        if isinstance(event, Finished | Failed):
            self._num_open -= 1
        return event

    async def athrow(
        self,
        typ: type[BaseException] | BaseException,
        val: BaseException | object = None,
        tb: TracebackType | None = None,
    ) -> Event:
        """Cancel what is unfinished, and raise."""
        self._cancel()
        raise typ

    async def aclose(self) -> None:
        """Cancel what is unfinished."""
        self._cancel()

    def __del__(self) -> None:
        self._cancel()

    def _cancel(self) -> None:
        if not self._num_open:
            return
        self._num_open = 0
        for sample in self._samples:
            sample.is_cancelled = True
        # A hub with nothing to do has to be woken to notice.
        self._hub.tell(_nothing)


def _nothing() -> None:
    pass
