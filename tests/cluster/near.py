"""Replicas in the tests' own process, each with an engine of its own, that can be lost and hang."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, TypeVar

import msgspec

from gateway.catalog.abilities import Abilities
from gateway.catalog.cards import CardError
from gateway.catalog.catalog import Catalog
from gateway.catalog.collection import Collection
from gateway.cluster.devices import Place
from gateway.cluster.link import Ground, Link, ReplicaLostError
from gateway.cluster.replica import Beat, Replica
from gateway.engine.protocol import Engine
from gateway.job import Failed

T = TypeVar("T")
ENDED = "it was ended by a test"
GONE = "a test took it away"


class NearLink:
    """A replica without a process: `die` is what SIGKILL does, `hang` and `go_on` SIGSTOP and CONT.

    Nothing passes while it hangs; all that waits is told when it dies.
    """

    def __init__(self, name: str, engine: Engine, collection: Collection) -> None:
        self.name = name
        self.engine = engine
        self.collection = collection
        self.num_drawn = 0
        self._replica = Replica(engine, collection)
        self._goes = asyncio.Event()
        self._goes.set()
        self._dead: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def is_dead(self) -> bool:
        return self._dead.done()

    def die(self) -> None:
        """End at once."""
        if not self._dead.done():
            self._dead.set_result(None)
            asyncio.get_running_loop().create_task(self.engine.stop(0))

    def hang(self) -> None:
        """Answer nothing from now on."""
        self._goes.clear()

    def go_on(self) -> None:
        """Answer again."""
        self._goes.set()

    async def made(self) -> None:
        await self._or_dead(asyncio.sleep(0))

    async def start(self) -> str | None:
        return await self._or_dead(self._replica.start())

    async def draw(self, asked: bytes) -> AsyncGenerator[bytes]:
        self.num_drawn += 1
        async with aclosing(self._replica.draw(asked)) as events:
            while True:
                try:
                    yield await self._or_dead(anext(events))
                except StopAsyncIteration:
                    return

    async def beat(self) -> Beat:
        beat = await self._or_dead(self._replica.beat())
        return msgspec.structs.replace(beat, counted=())  # they are this process's own

    async def serve(self, catalog: Catalog) -> None:
        await self._or_dead(self._replica.serve(catalog))

    async def load_adapter(self, endpoint: str, route: str) -> CardError | Failed | str | None:
        return await self._or_dead(self._replica.load_adapter(endpoint, route))

    def abilities(self, endpoint: str) -> Abilities | None:
        return self.engine.abilities(endpoint)

    def runs_scheduler(
        self, endpoint: str, name: str | None, config: Mapping[str, Any]
    ) -> bool | None:
        return self.engine.runs_scheduler(endpoint, name, config)

    async def stop(self, grace_seconds: float) -> None:
        await self._or_dead(self._replica.stop(grace_seconds))

    def kill(self) -> None:
        self.die()

    async def _or_dead(self, work: Awaitable[T]) -> T:
        """What some work brings, unless it ends before."""
        working = asyncio.create_task(self._when_it_goes(work))
        either: set[asyncio.Future[Any]] = {working, self._dead}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if self._dead.done():
                raise ReplicaLostError(ENDED)
            return working.result()
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)

    async def _when_it_goes(self, work: Awaitable[T]) -> T:
        done = await work
        await self._goes.wait()
        return done


class NearGround:
    """Places in this process; `links` are all replicas that ever were, the latest last."""

    def __init__(self, make: Callable[[Collection], Engine], *names: str) -> None:
        self.make = make
        self.names = names
        self.links: list[NearLink] = []
        self.num_failures = 0
        self.fault: str | None = None

    @property
    def ground(self) -> Ground:
        """What an engine stands on."""
        return Ground(self._open, self._hire, self._close, lambda: self.fault)

    def vanish(self) -> None:
        """Be gone, and all replicas with it."""
        self.fault = GONE
        for name in self.names:
            self.latest(name).die()

    def latest(self, place: str) -> NearLink:
        """The replica that is at a place."""
        return [link for link in self.links if link.name.partition("/")[0] == place][-1]

    async def _open(self) -> list[Place]:
        if self.num_failures:
            self.num_failures -= 1
            raise ConnectionError("nobody is there")
        self.fault = None
        return [Place(name, "cpu") for name in self.names]

    def _hire(self, name: str, place: Place, catalog: Catalog) -> Link:
        collection = Collection.of(catalog)
        self.links.append(NearLink(name, self.make(collection), collection))
        return self.links[-1]

    async def _close(self) -> None:
        pass
