"""The engine inside this process: the event loop on one side, one thread per device on the other."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from uuid import uuid4

import torch

from gateway.catalog import Catalog
from gateway.engine.hub import Hub
from gateway.engine.loading import device_of
from gateway.engine.protocol import EngineStatus, LoadedEndpoint
from gateway.engine.sample import Sample
from gateway.engine.shelf import Shelf
from gateway.errors import GenerationFailed, Overloaded, ShuttingDown
from gateway.job import Event, Failed, Finished, Job
from gateway.settings import Settings

POLL_SECONDS = 0.02


class LocalEngine:
    """Implements `protocol.Engine` with stock pipelines in this process."""

    def __init__(self, catalog: Catalog, settings: Settings) -> None:
        self._catalog = catalog
        self._settings = settings
        self._arrivals = itertools.count()
        self._num_open = 0
        self._is_draining = False
        self._is_ready = False
        self._warm: set[str] = set()
        self._hubs: dict[torch.device, Hub] = {}
        devices = {
            id: device_of(card, settings.device) for id, card in catalog.endpoints.items()
        }
        for device in dict.fromkeys(devices.values()):
            self._hubs[device] = self._new_hub(device, devices)
        self._hub_of = {id: self._hubs[device] for id, device in devices.items()}

    def submit(self, job: Job) -> AsyncIterator[Event]:
        """Admit a job and return its events; see `protocol.Engine`."""
        if self._is_draining:
            raise ShuttingDown("The server is shutting down.", retry_after_seconds=5)
        self._check_door(job)
        loop, events = asyncio.get_running_loop(), asyncio.Queue[Event]()

        def emit(event: Event) -> None:
            loop.call_soon_threadsafe(events.put_nowait, event)

        samples = [
            Sample(job, number, next(self._arrivals), emit) for number in range(len(job.seeds))
        ]
        hub = self._hub_of[job.endpoint]
        self._num_open += len(samples)
        hub.tell(lambda: hub.waiting.extend(samples))
        return self._events(hub, samples, events)

    def status(self) -> EngineStatus:
        """What is loaded, running and waiting right now."""
        hubs = list(self._hubs.values())
        return EngineStatus(
            ready=self._is_ready and not self._is_draining,
            num_running=sum(len(hub.running) for hub in hubs),
            num_waiting=max(0, self._num_open - sum(len(hub.running) for hub in hubs)),
            loaded=tuple(
                LoadedEndpoint(
                    id=id,
                    pipeline=type(loaded.base).__name__,
                    device=str(loaded.device),
                    size_bytes=loaded.size_bytes,
                    adapters=hub.shelf.adapters(id).routes,
                    warm=id in self._warm,
                )
                for hub in hubs
                for id, loaded in hub.shelf.loaded.items()
            ),
            batch_sizes=tuple(size for hub in hubs for size in tuple(hub.batch_sizes)),
            step_seconds={
                id: seconds for hub in hubs for id, seconds in dict(hub.step_seconds).items()
            },
        )

    async def start(self) -> None:
        """Start the device threads; with `preload`, load and warm every endpoint."""
        for hub in self._hubs.values():
            hub.start()
        if self._settings.preload:
            for id in self._catalog.endpoints:
                await self._warm_up(id)
        self._is_ready = True

    async def stop(self, grace_seconds: float) -> None:
        """Refuse new jobs, let running ones finish for up to the grace, fail the rest."""
        self._is_draining = True
        deadline = time.monotonic() + grace_seconds
        while self._num_open and time.monotonic() < deadline:
            await asyncio.sleep(POLL_SECONDS)
        for hub in self._hubs.values():
            hub.stop()
            hub.shelf.close()
        for hub in self._hubs.values():
            await asyncio.to_thread(hub.join, 5)

    def _new_hub(self, device: torch.device, devices: dict[str, torch.device]) -> Hub:
        settings = self._settings
        shelf = Shelf(
            self._catalog,
            devices,
            endpoint_gib=settings.endpoint_gib,
            adapter_gib=settings.adapter_gib,
            wake=lambda command: hub.tell(command),
        )
        hub = Hub(shelf, device, settings.max_batch, settings.threads)
        shelf.watch(lambda: [sample.job for sample in hub.running])
        return hub

    def _check_door(self, job: Job) -> None:
        """Refuse what would wait too long, before any work.

        Raises:
            Overloaded: with the seconds after which there should be room.
        """
        settings = self._settings
        limit = settings.max_waiting + settings.max_batch
        estimate = self._seconds_to_clear(job)
        if self._num_open + len(job.seeds) > limit:
            raise Overloaded(
                "The engine is busy. Try again later.", retry_after_seconds=max(1.0, estimate)
            )
        if job.deadline is not None and time.time() + estimate > job.deadline:
            raise Overloaded(
                "The queue is too long for this request's deadline.",
                retry_after_seconds=max(1.0, estimate),
            )

    def _seconds_to_clear(self, job: Job) -> float:
        """An estimate of when a new job would be done, from the measured time of a step."""
        hub = self._hub_of[job.endpoint]
        seconds = hub.step_seconds.get(job.endpoint, 0.0)
        rounds = 1 + self._num_open // self._settings.max_batch
        return seconds * job.num_inference_steps * rounds

    async def _events(
        self, hub: Hub, samples: list[Sample], events: "asyncio.Queue[Event]"
    ) -> AsyncIterator[Event]:
        open_samples = len(samples)
        try:
            while open_samples:
                event = await events.get()
                if isinstance(event, Finished | Failed):
                    open_samples -= 1
                    self._num_open -= 1
                yield event
        finally:
            self._num_open -= open_samples
            for sample in samples:
                sample.is_cancelled = True
            hub.tell(_nothing)

    async def _warm_up(self, id: str) -> None:
        """Load an endpoint and run one denoising step of it.

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
        self._warm.add(id)


def _nothing() -> None:
    """Wakes a hub that may be blocked, so that it notices a cancelled sample."""
