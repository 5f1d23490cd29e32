"""Replicas as Ray's actors: Ray finds them a device and a process, and tells when that ends."""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing, suppress
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from gateway.catalog.abilities import Abilities
from gateway.catalog.cards import CardError
from gateway.catalog.catalog import Catalog
from gateway.cluster.devices import Place
from gateway.cluster.link import ReplicaLostError
from gateway.cluster.parcels import parcels
from gateway.cluster.replica import Beat, Replica, replica_of
from gateway.job import Failed
from gateway.settings import Settings

AT_ONCE = 100_000
"""Calls that an actor answers at the same time; jobs are counted at the front's door."""

ANSWER_SECONDS = 2.0
"""For a question that the event loop waits for."""

PUT_DOWN = "it was put down"

Make = Callable[[Settings, Catalog, Place], Replica]

_DETAIL = re.compile(r"Worker exit detail: ([^.\n]+)")


class ReplicaActor:
    """A replica in a process of its own."""

    def __init__(self, make: Make, settings: Settings, catalog: Catalog, place: Place) -> None:
        self._replica = make(settings, catalog, place)

    async def draw(self, packed: bytes) -> AsyncGenerator[list[bytes]]:
        """See `Replica.draw`."""
        async with aclosing(parcels(self._replica.draw(packed))) as sent:
            async for parcel in sent:
                yield parcel

    async def ask(self, method: str, *arguments: Any) -> Any:
        """What a method of the replica answers."""
        return await getattr(self._replica, method)(*arguments)


class ActorLink:
    """See `Link`."""

    def __init__(
        self, settings: Settings, place: Place, catalog: Catalog, make: Make = replica_of
    ) -> None:
        remote: Any = ray.remote(ReplicaActor)
        placed = remote.options(
            num_cpus=place.cores,
            num_gpus=place.gpus,
            max_restarts=0,
            max_concurrency=AT_ONCE,
            scheduling_strategy="SPREAD",
        )
        self._actor = placed.remote(make, settings, catalog, place)
        self._draw = self._actor.draw.options(num_returns="streaming")
        self._asked: set[asyncio.Future[Any]] = set()
        self._is_over = False

    async def made(self) -> None:
        """See `Link.made`."""
        await self._ask("beat")

    async def start(self) -> str | None:
        """See `Link.start`."""
        fault: str | None = await self._ask("start")
        return fault

    async def draw(self, packed: bytes) -> AsyncGenerator[bytes]:
        """See `Link.draw`."""
        stream, has_ended = self._draw.remote(packed), False
        try:
            async for parcel in stream:
                for told in await parcel:
                    yield told
            has_ended = True
        except RayTaskError:
            raise
        except RayError as error:
            raise ReplicaLostError(why(error)) from None
        finally:
            # Who only stops to listen leaves the replica drawing to the end.
            if not has_ended:
                with suppress(RayError):
                    ray.cancel(stream)

    async def beat(self) -> Beat:
        """See `Link.beat`."""
        beat: Beat = await self._ask("beat")
        return beat

    async def serve(self, catalog: Catalog) -> None:
        """See `Link.serve`."""
        await self._ask("serve", catalog)

    async def load_adapter(self, endpoint: str, route: str) -> CardError | Failed | str | None:
        """See `Link.load_adapter`."""
        fault: CardError | Failed | str | None = await self._ask("load_adapter", endpoint, route)
        return fault

    def abilities(self, endpoint: str) -> Abilities | None:
        """See `Link.abilities`."""
        found: Abilities | None = self._ask_now("abilities", endpoint)
        return found

    def runs_scheduler(
        self, endpoint: str, name: str | None, config: Mapping[str, Any]
    ) -> bool | None:
        """See `Link.runs_scheduler`."""
        runs: bool | None = self._ask_now("runs_scheduler", endpoint, name, config)
        return runs

    async def stop(self, grace_seconds: float) -> None:
        """See `Link.stop`."""
        await self._ask("stop", grace_seconds)

    def kill(self) -> None:
        """See `Link.kill`."""
        self._is_over = True
        for asked in self._asked:  # Ray, ended, would not answer them
            asked.cancel()
        with suppress(RayError):
            ray.kill(self._actor)

    async def _ask(self, method: str, *arguments: Any) -> Any:
        if self._is_over:
            raise ReplicaLostError(PUT_DOWN)
        try:
            asked = asyncio.ensure_future(self._actor.ask.remote(method, *arguments))
            self._asked.add(asked)
            try:
                await asyncio.wait({asked})
            finally:
                asked.cancel()
                self._asked.discard(asked)
            if asked.cancelled():
                raise ReplicaLostError(PUT_DOWN)
            return asked.result()
        except RayTaskError:
            raise
        except RayError as error:
            raise ReplicaLostError(why(error)) from None

    def _ask_now(self, method: str, *arguments: Any) -> Any:
        with suppress(RayError):
            return ray.get(self._actor.ask.remote(method, *arguments), timeout=ANSWER_SECONDS)
        return None


def why(error: RayError) -> str:
    """What became of a replica, in a line."""
    text = str(error).strip()
    if found := _DETAIL.search(text):
        return f"its process has ended: {found[1]}"
    return text.splitlines()[-1].strip() if text else type(error).__name__
