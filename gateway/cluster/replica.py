"""One engine elsewhere: what a front asks of it, and what it tells of itself."""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Mapping, Set
from contextlib import aclosing
from typing import Any

import msgspec

from gateway.catalog.abilities import Abilities
from gateway.catalog.cards import CardError
from gateway.catalog.catalog import Catalog
from gateway.catalog.collection import Collection
from gateway.cluster.devices import Place
from gateway.cluster.lines import Line, Lines
from gateway.cluster.wire import Holding, packed, unpacked_job
from gateway.engine.protocol import Engine, EngineStatus
from gateway.engine.turns import Pace
from gateway.errors import DeadlineExceeded, GatewayError, Overloaded
from gateway.job import Failed, Job
from gateway.settings import Settings
from gateway.telemetry.gathered import Counted, counted

PLACES = 1_000_000
"""The front alone decides who is let in; behind its door nobody is refused for want of a place."""


class Beat(msgspec.Struct, frozen=True):
    """What a replica tells of itself, about once a second: how it stands, and what came since.

    `process` is its number on the machine `host`.
    """

    status: EngineStatus
    paces: dict[str, Pace]
    host: str
    process: int
    counted: tuple[Counted, ...] = ()
    lines: tuple[Line, ...] = ()


class Replica:
    """A local engine behind the calls that travel; what it answers can be pickled."""

    def __init__(
        self,
        engine: Engine,
        collection: Collection,
        paces: Callable[[], dict[str, Pace]] = dict,
        lines: Lines | None = None,
    ) -> None:
        self._engine = engine
        self._collection = collection
        self._paces = paces
        self._lines = lines or Lines()
        self._told: Set[str] = frozenset()

    async def start(self) -> str | None:
        """Start the engine; why none of what is preloaded can be drawn, if so."""
        try:
            await self._engine.start()
        except GatewayError as error:
            return error.message
        return None

    async def draw(self, asked: bytes) -> AsyncGenerator[bytes]:
        """The events of a job's samples; closed early, it stops within a step."""
        job = unpacked_job(asked)
        try:
            events = self._engine.submit(job)
        except GatewayError as error:
            for number in range(len(job.seeds)):
                yield packed(_refused(number, error))
            return
        async with aclosing(events):
            is_told = self._needs(job) <= self._told
            async for event in events:
                # A load ends before the first step: what is held is known before a picture is.
                if not is_told:
                    is_told = True
                    yield packed(Holding(self._status().loaded))
                yield packed(event)

    async def beat(self) -> Beat:
        """How it stands."""
        return Beat(
            self._status(),
            self._paces(),
            os.uname().nodename,
            os.getpid(),
            counted(),
            self._lines.taken(),
        )

    async def serve(self, catalog: Catalog) -> None:
        """Know what is served from now on."""
        await asyncio.to_thread(self._collection.replace, catalog)
        self._engine.notice()

    async def load_adapter(self, endpoint: str, route: str) -> CardError | Failed | str | None:
        """Have an adapter in memory; what is wrong with it, if anything."""
        try:
            await self._engine.load_adapter(endpoint, route)
        except CardError as error:
            return error
        except GatewayError as error:
            return _refused(0, error)
        except Exception as error:
            return str(error) or type(error).__name__
        return None

    async def abilities(self, endpoint: str) -> Abilities | None:
        """See `protocol.Engine`."""
        return self._engine.abilities(endpoint)

    async def runs_scheduler(
        self, endpoint: str, name: str | None, config: Mapping[str, Any]
    ) -> bool | None:
        """See `protocol.Engine`."""
        return self._engine.runs_scheduler(endpoint, name, config)

    async def stop(self, grace_seconds: float) -> None:
        """See `protocol.Engine`."""
        await self._engine.stop(grace_seconds)

    def _status(self) -> EngineStatus:
        """How the engine stands, which takes a millisecond; whoever asks is about to tell it."""
        status = self._engine.status()
        self._told = status.digests.keys()
        return status

    def _needs(self, job: Job) -> Set[str]:
        """The ids of all that a job is drawn with."""
        return {job.endpoint, *(id for id, _ in self._collection.latest.beside(job))}


def replica_of(settings: Settings, catalog: Catalog, place: Place) -> Replica:
    """The replica of a process of its own; it takes seconds, since torch is imported."""
    if place.index is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = visible(place.index, os.environ)
    lines = Lines.taking_all()
    own = msgspec.structs.replace(
        settings,
        device=place.device,
        threads=settings.threads or place.threads,
        max_waiting=PLACES,
    )
    from gateway.engine.device.heap import settle_heap  # noqa: PLC0415

    settle_heap()
    from gateway.engine.local import LocalEngine  # noqa: PLC0415  not before it sees its GPU

    collection = Collection.of(catalog)
    engine = LocalEngine(collection, own)
    return Replica(engine, collection, lambda: engine.paces, lines)


def visible(index: int, environment: Mapping[str, str]) -> str:
    """What CUDA calls the GPU of an index among those that are visible here."""
    names = [name for name in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return names[index] if index < len(names) else str(index)


def _refused(number: int, error: GatewayError) -> Failed:
    """A job that was not let in: only for its deadline, since the front counts the places."""
    code = DeadlineExceeded.code if isinstance(error, Overloaded) else error.code
    return Failed(number, str(code), error.message, error.param)
