"""The engine of several replicas: one door before them, and the same protocol as of one."""

import asyncio
import itertools
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from typing import Any

import msgspec
import structlog

from gateway.catalog.abilities import Abilities
from gateway.catalog.cards import CardError, EndpointCard
from gateway.catalog.catalog import Catalog
from gateway.catalog.collection import Collection
from gateway.cluster.answers import Answers
from gateway.cluster.crew import Crew, Patience
from gateway.cluster.devices import Place
from gateway.cluster.dispatch import Dispatch
from gateway.cluster.journey import Journey, OpenSample
from gateway.cluster.link import Ground, ReplicaLostError
from gateway.cluster.member import Member
from gateway.cluster.shared import Shared
from gateway.cluster.together import status_of
from gateway.engine.forecast import Entrance
from gateway.engine.protocol import EngineStatus
from gateway.engine.stream import JobEvents
from gateway.engine.turns import Pace
from gateway.errors import ModelNotFound, ShuttingDown
from gateway.job import Event, Failed, Job
from gateway.settings import Settings

POLL_SECONDS = 0.02
FIRST_PAUSE_SECONDS, MOST_PAUSE_SECONDS = 0.5, 30.0
"""Before a ground that could not be opened is tried again."""

log = structlog.get_logger()


class ClusterEngine:
    """Implements `protocol.Engine` over replicas, each of which holds a local engine."""

    def __init__(
        self,
        catalog: Catalog | Collection,
        settings: Settings,
        ground: Ground,
        patience: Patience = Patience(),
    ) -> None:
        self._collection = Collection.of(catalog)
        self._settings = settings
        self._ground = ground
        self._patience = patience
        self._crew = Crew(ground, self._served, patience)
        self._dispatch = Dispatch(self._crew, self._served)
        self._entrance = Entrance(settings)
        self._answers = Answers(self._collection, lambda: self._crew.ready)
        self._journeys: set[Journey] = set()
        self._arrivals = itertools.count()
        self._has_begun = False
        self._is_draining = False
        self._telling: set[asyncio.Task[None]] = set()
        self._holding: asyncio.Task[None] | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._shown: tuple[Catalog, Catalog] | None = None

    def submit(self, job: Job) -> AsyncGenerator[Event]:
        """Admit a job and return its events; see `protocol.Engine`."""
        self._check_open()
        card = self._check_served(job.endpoint)
        journey = Journey(job, self._arrivals)
        samples, number = list(journey.open.values()), max(1, len(self._crew.posts))
        self._entrance.resize(number)
        self._entrance.check(
            samples,
            self._inside(),
            lambda id: Shared(self._pace(id), number),
            card,
            time.monotonic(),
        )
        self._journeys.add(journey)
        task = asyncio.get_running_loop().create_task(self._dispatch.travel(journey))
        task.add_done_callback(lambda _: self._journeys.discard(journey))
        journey.go(task)
        return JobEvents(journey.events, len(journey.open), journey.end_from_anywhere)

    def status(self) -> EngineStatus:
        """What is loaded, running and waiting right now, on all replicas."""
        fault = "stopping" if self._is_draining else self._crew.fault
        is_ready = any(not member.fault for member in self._crew.ready)
        if not is_ready and fault is None:
            fault = next((one.fault for one in self._crew.members if one.fault), None)
        is_ready = is_ready and not self._is_draining
        return status_of(self._crew, self._inside(), is_ready=is_ready, fault=fault)

    def runs_scheduler(
        self, endpoint: str, name: str | None, config: Mapping[str, Any]
    ) -> bool | None:
        """Whether a model takes a scheduler; see `protocol.Engine`."""
        return self._answers.runs_scheduler(endpoint, name, config)

    def abilities(self, endpoint: str) -> Abilities | None:
        """What an endpoint's pipeline can hear of a request; see `protocol.Engine`."""
        return self._answers.abilities(endpoint)

    async def load_adapter(self, endpoint: str, route: str) -> None:
        """Have an adapter in memory on every replica; see `protocol.Engine`."""
        self._check_served(endpoint)
        while not (members := self._crew.ready):
            self._check_open()
            await self._crew.change()
        loads = (self._load_at(member, endpoint, route) for member in members)
        for fault in await asyncio.gather(*loads):
            match fault:
                case CardError():
                    raise fault
                case Failed():
                    raise fault.error()
                case str():
                    raise RuntimeError(fault)
        self._check_open()

    def notice(self) -> None:
        """The catalogue has changed; see `protocol.Engine`."""
        for member in self._crew.ready:
            task = asyncio.get_running_loop().create_task(self._show(member))
            self._telling.add(task)
            task.add_done_callback(self._telling.discard)

    async def start(self) -> None:
        """Begin the replicas, and wait for the first of them."""
        if self._is_draining or self._has_begun:
            return
        self._has_begun = True
        places = await self._places()
        if self._is_draining:
            return
        self._crew.start(places)
        self._holding = asyncio.create_task(self._hold())
        while not (self._crew.ready or self._is_draining):
            await self._crew.change()

    async def stop(self, grace_seconds: float) -> None:
        """Refuse new jobs, let running ones finish for up to the grace, fail the rest."""
        self._is_draining = True
        self._crew.ring()
        deadline = time.monotonic() + grace_seconds
        while self._journeys and time.monotonic() < deadline:
            await asyncio.sleep(POLL_SECONDS)
        for journey in tuple(self._journeys):
            journey.fail(ShuttingDown("The server is shutting down.", retry_after_seconds=5))
            journey.end()
        self._stopping = self._stopping or asyncio.create_task(self._close())
        await asyncio.shield(self._stopping)

    async def drain(self, replica: str) -> None:
        """See `protocol.Replicated`."""
        await self._crew.drain(replica, self._settings.grace_seconds)

    async def restart(self, replica: str | None = None) -> None:
        """See `protocol.Replicated`."""
        await self._crew.restart(self._settings.grace_seconds, replica)

    async def _hold(self) -> None:
        """Begin the ground anew whenever it is lost, and replicas on it."""
        while not self._is_draining:
            await asyncio.sleep(self._patience.beat_seconds)
            if fault := self._ground.fault():
                log.error("all replicas are lost", fault=fault)
                await self._crew.abandon(fault)
                await self._ground.close()
                self._crew.start(await self._places())

    async def _places(self) -> list[Place]:
        """Where replicas may be; asked until there is an answer, for a cluster may come yet."""
        pause = FIRST_PAUSE_SECONDS
        while not self._is_draining:
            try:
                places = await self._ground.open()
            except Exception as error:
                self._crew.fault = f"no replicas: {error}"
                log.error("there are no replicas", fault=str(error))
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._crew.change(), pause)
                pause = min(2 * pause, MOST_PAUSE_SECONDS)
            else:
                self._crew.fault = None
                return places
        return []

    def _check_open(self) -> None:
        if self._is_draining:
            raise ShuttingDown("The server is shutting down.", retry_after_seconds=5)

    def _check_served(self, endpoint: str) -> EndpointCard:
        card = self._collection.latest.endpoints.get(endpoint)
        if card is None:
            raise ModelNotFound(f"The model `{endpoint}` is no longer served.")
        return card

    async def _close(self) -> None:
        if self._holding is not None:
            self._holding.cancel()
            await asyncio.gather(self._holding, return_exceptions=True)
        await self._crew.stop()
        await self._ground.close()

    def _inside(self) -> list[OpenSample]:
        """Every sample that has not ended, in the order they came."""
        inside = [one for journey in self._journeys for one in journey.open.values()]
        return sorted(inside, key=lambda one: one.arrival)

    def _pace(self, endpoint: str) -> Pace:
        """How fast an endpoint goes on the replica that was heard of first."""
        beats = (member.beat for member in self._crew.members if member.beat)
        return next((beat.paces[endpoint] for beat in beats if endpoint in beat.paces), Pace())

    def _served(self) -> Catalog:
        """The catalogue as it travels: without what only means something here."""
        latest = self._collection.latest
        if self._shown is None or self._shown[0] is not latest:
            bare = msgspec.structs.replace(latest, tried=None, heard=None, renewed=None)
            self._shown = (latest, bare)
        return self._shown[1]

    async def _show(self, member: Member) -> None:
        with suppress(ReplicaLostError):
            await member.show(self._served())

    async def _load_at(
        self, member: Member, endpoint: str, route: str
    ) -> CardError | Failed | str | None:
        """Load an adapter on one replica; what is wrong with it, if the replica lives to tell."""
        with suppress(ReplicaLostError):
            await member.show(self._served())
            return await member.link.load_adapter(endpoint, route)
        return None
