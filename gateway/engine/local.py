"""The engine inside this process: the event loop here, one thread per device there."""

import asyncio
import functools
import itertools
import time
from collections.abc import AsyncGenerator, Mapping
from typing import Any
from uuid import uuid4

import msgspec
import structlog
import torch

from gateway.catalog.abilities import Abilities
from gateway.catalog.cards import EndpointCard
from gateway.catalog.catalog import Catalog
from gateway.catalog.collection import Collection
from gateway.catalog.heads.digests import Digests
from gateway.catalog.survey.fitting import GIB
from gateway.catalog.survey.survey import state_of
from gateway.engine.device.chosen import device_of
from gateway.engine.forecast import Entrance
from gateway.engine.forwards.regional import has_compiler
from gateway.engine.hub import Hub
from gateway.engine.loading.room import Budget
from gateway.engine.loading.shelf import Shelf
from gateway.engine.pipelines.abilities import abilities_of
from gateway.engine.pipelines.schedulers import Schedulers
from gateway.engine.protocol import EngineStatus
from gateway.engine.sample import Sample
from gateway.engine.snapshot import paces_of, status_of
from gateway.engine.stream import JobEvents
from gateway.engine.turns import Pace
from gateway.errors import (
    GatewayError,
    GenerationFailed,
    ModelNotFound,
    ShuttingDown,
)
from gateway.job import AdapterUse, Event, Failed, Finished, Job
from gateway.settings import Settings
from gateway.telemetry import metrics

log = structlog.get_logger()

POLL_SECONDS = 0.02
FINAL_SECONDS = 10.0
"""How long a thread may take over its last forward when the engine stops."""


class LocalEngine:
    """Implements `protocol.Engine` with stock pipelines in this process."""

    def __init__(self, catalog: Catalog | Collection, settings: Settings) -> None:
        self._collection = Collection.of(catalog)
        self._settings = settings
        self._schedulers = Schedulers(lambda: self._collection.latest.endpoints)
        self._abilities: dict[str, tuple[EndpointCard, Abilities]] = {}
        self._digests = Digests(settings.data)
        self._arrivals = itertools.count()
        self._open: set[Sample] = set()
        self._is_started = False
        self._is_draining = False
        self._start_fault: str | None = None
        self._hubs: dict[torch.device, Hub] = {}
        self._hub_of: dict[str, Hub] = {}
        self._entrances: dict[Hub, Entrance] = {}
        self._runs_hubs = False
        for card in self._collection.latest.endpoints.values():
            self._settle(card)

    def submit(self, job: Job) -> AsyncGenerator[Event]:
        """Admit a job and return its events; see `protocol.Engine`."""
        self._check_is_open()
        loop, events = asyncio.get_running_loop(), asyncio.Queue[Event]()

        def told(event: Event) -> None:
            if isinstance(event, Finished | Failed):
                # What ends is let go of: it knows this function, which would keep it else.
                self._open.discard(left.pop(event.sample))
            events.put_nowait(event)

        def emit(event: Event) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(told, event)

        samples = [
            Sample(job, number, next(self._arrivals), emit) for number in range(len(job.seeds))
        ]
        left = dict(enumerate(samples))
        hub = self._hub(job.endpoint)
        self._check_entrance(job, samples)
        self._open.update(samples)
        hub.tell(lambda: hub.add(samples))

        def cancel() -> None:
            for sample in samples:
                sample.is_cancelled = True
            # A hub with nothing to do has to be woken to notice.
            hub.tell(_nothing)

        return JobEvents(events, len(samples), cancel)

    def status(self) -> EngineStatus:
        """What is loaded, running and waiting right now."""
        fault = self._fault()
        work: dict[Hub, list[Sample]] = {hub: [] for hub in self._hubs.values()}
        for sample in self._open:
            work[self._hub_of[sample.endpoint]].append(sample)
        return status_of(work, is_ready=self._is_started and fault is None, fault=fault)

    @property
    def paces(self) -> dict[str, Pace]:
        """How fast each endpoint goes."""
        return paces_of(self._hubs.values())

    def runs_scheduler(
        self, endpoint: str, name: str | None, config: Mapping[str, Any]
    ) -> bool | None:
        """Whether a model takes a scheduler; see `protocol.Engine`."""
        return self._schedulers.runs(endpoint, name, config)

    def abilities(self, endpoint: str) -> Abilities | None:
        """What an endpoint's pipeline can hear of a request; see `protocol.Engine`."""
        card = self._collection.latest.endpoint(endpoint)
        known, found = self._abilities.get(endpoint, (None, None))
        if known != card and (found := abilities_of(card)) is not None:
            self._abilities[endpoint] = (card, found)
        return found

    async def load_adapter(self, endpoint: str, route: str) -> None:
        """Have an adapter in memory, beside running work; see `protocol.Engine`."""
        self._check_is_open()
        loop = asyncio.get_running_loop()
        told: asyncio.Future[Exception | None] = loop.create_future()
        hub, use = self._hub(endpoint), AdapterUse(route)
        job = msgspec.structs.replace(self._smallest_job(endpoint), adapters=(use,))

        def tell(error: Exception | None) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(_settle_future, told, error)

        hub.tell(lambda: hub.shelf.fetch(job, tell))
        if (error := await told) is not None:
            raise error

    def notice(self) -> None:
        """The catalogue has changed; see `protocol.Engine`."""
        for hub in self._hubs.values():
            hub.tell(hub.shelf.let_go)

    async def start(self) -> None:
        """Start the device threads; with `preload`, load and warm every endpoint that can be.

        Raises:
            GenerationFailed: there are endpoints to preload, and none of them runs.
        """
        if self._is_draining:
            return
        self._runs_hubs = True
        for device, hub in self._hubs.items():
            _start(hub, device)
        await asyncio.to_thread(self._plan)
        if self._settings.preload:
            await self._preload()
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
        for hub in self._hubs.values():
            await asyncio.to_thread(hub.join, FINAL_SECONDS)
            hub.shelf.close()  # once more, where the thread hangs

    def _check_is_open(self) -> None:
        if self._is_draining:
            raise ShuttingDown("The server is shutting down.", retry_after_seconds=5)

    def _plan(self) -> None:
        """Tell of every endpoint how it will be placed, before anything is loaded."""
        for card in self._collection.latest.endpoints.values():
            if state_of(self._collection.faults().get(card.id)) == "ready":
                self._hub(card.id).shelf.room.plan(card)

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

    def _hub(self, endpoint: str) -> Hub:
        """The hub of an endpoint's device, which is settled when it is first asked for.

        Raises:
            ModelNotFound: the endpoint is not served.
        """
        if endpoint not in self._hub_of:
            card = self._collection.latest.endpoints.get(endpoint)
            if card is None:
                raise ModelNotFound(f"The model `{endpoint}` is no longer served.")
            self._settle(card)
        return self._hub_of[endpoint]

    def _settle(self, card: EndpointCard) -> None:
        device = device_of(card, self._settings.device)
        if card.compile == "regional" and not has_compiler(device):
            log.warning("no C++ compiler: its forwards run as they are", endpoint=card.id)
        if device not in self._hubs:
            self._hubs[device] = self._new_hub(device)
        self._hub_of[card.id] = self._hubs[device]

    def _new_hub(self, device: torch.device) -> Hub:
        settings = self._settings
        shelf = Shelf(
            self._collection,
            device,
            self._digests,
            Budget(settings.memory, settings.endpoint_gib, settings.adapter_gib),
            tell=lambda command: hub.tell(command),  # noqa: PLW0108  the hub comes after
        )
        hub = Hub(shelf, device, settings.max_batch, settings.threads)
        hub.lanes.captures.limit_bytes = settings.recorded_gib * GIB
        recorded = metrics.RECORDED.labels(str(device))
        recorded.set_function(lambda: hub.lanes.captures.size_bytes)
        hung = metrics.HUNG.labels(str(device))
        hung.set_function(lambda: hub.pulse.stuck_seconds is not None)
        self._entrances[hub] = Entrance(settings)
        if self._runs_hubs:
            _start(hub, device)
        return hub

    def _check_entrance(self, job: Job, samples: list[Sample]) -> None:
        """Refuse what would wait too long, before any work.

        Raises:
            Overloaded: with the seconds after which there should be room.
        """
        hub = self._hub(job.endpoint)
        near = [sample for sample in self._open if self._hub_of[sample.endpoint] is hub]
        near.sort(key=lambda sample: sample.arrival)
        card = self._collection.latest.endpoints.get(job.endpoint)  # it may be gone
        self._entrances[hub].check(samples, near, self._pace, card, time.monotonic())

    def _pace(self, endpoint: str) -> Pace:
        return self._hub_of[endpoint].paces.get(endpoint, Pace())

    async def _preload(self) -> None:
        """Warm every endpoint; one that cannot run stops no other.

        Raises:
            GenerationFailed: none can.
        """
        faults: list[GatewayError] = []
        endpoints = list(self._collection.latest.endpoints)
        for id in endpoints:
            try:
                await self._warm_up(id)
            except GatewayError as error:
                log.error("an endpoint was not preloaded", endpoint=id, fault=error.message)
                faults.append(error)
        if endpoints and len(faults) == len(endpoints):
            self._start_fault = faults[0].message
            raise faults[0]

    async def _warm_up(self, id: str) -> None:
        """Load an endpoint and run one picture of it in the fewest steps.

        Raises:
            GenerationFailed: it could not be loaded or run.
        """
        async for event in self.submit(self._smallest_job(id)):
            if isinstance(event, Failed):
                raise GenerationFailed(f"endpoint '{id}' cannot run: {event.message}")

    def _smallest_job(self, endpoint: str) -> Job:
        """One picture of an endpoint in the fewest steps."""
        card = self._collection.latest.endpoints[endpoint]
        width, height = card.sizes.native
        return Job(
            id=f"warm-up-{uuid4().hex}",
            endpoint=endpoint,
            prompt="warm-up",
            num_inference_steps=card.steps.min,
            guidance_scale=card.guidance.default,
            width=width,
            height=height,
            seeds=(0,),
            arguments=card.call_arguments(card.steps.min),
        )


def _start(hub: Hub, device: torch.device) -> None:
    hub.start()
    if device.type == "cuda":
        gauge = metrics.DEVICE_MEMORY.labels(str(device))
        gauge.set_function(functools.partial(torch.cuda.memory_allocated, device))


def _settle_future(future: "asyncio.Future[Exception | None]", error: Exception | None) -> None:
    if not future.done():  # whoever asked may have left
        future.set_result(error)


def _nothing() -> None:
    pass
