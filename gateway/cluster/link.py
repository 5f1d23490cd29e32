"""How the front reaches a replica, whatever carries it there and back, and what all stand on."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any, Protocol

import msgspec

from gateway.catalog.abilities import Abilities
from gateway.catalog.cards import CardError
from gateway.catalog.catalog import Catalog
from gateway.cluster.devices import Place
from gateway.cluster.replica import Beat
from gateway.job import Failed


class ReplicaLostError(Exception):
    """A replica does not answer any more, and will not; the message says what became of it."""


class Link(Protocol):
    """A replica as it is called from afar; whoever waits gets a ReplicaLostError if it goes."""

    async def made(self) -> None:
        """Wait until the process is there and has imported all that it needs."""
        ...

    async def start(self) -> str | None:
        """See `Replica.start`."""
        ...

    def draw(self, packed: bytes) -> AsyncGenerator[bytes]:
        """See `Replica.draw`; closing it stops the replica's drawing within a step."""
        ...

    async def beat(self) -> Beat:
        """See `Replica.beat`."""
        ...

    async def serve(self, catalog: Catalog) -> None:
        """See `Replica.serve`."""
        ...

    async def load_adapter(self, endpoint: str, route: str) -> CardError | Failed | str | None:
        """See `Replica.load_adapter`."""
        ...

    def abilities(self, endpoint: str) -> Abilities | None:
        """See `protocol.Engine`; it is waited for, and None when that takes long."""
        ...

    def runs_scheduler(
        self, endpoint: str, name: str | None, config: Mapping[str, Any]
    ) -> bool | None:
        """See `protocol.Engine`; it is waited for, and None when that takes long."""
        ...

    async def stop(self, grace_seconds: float) -> None:
        """See `Replica.stop`."""
        ...

    def kill(self) -> None:
        """End the process now, whatever it is at, even where it is stopped."""
        ...


class Hire(Protocol):
    """Starts a replica at a place, serving a catalogue, under a name that no other ever had."""

    def __call__(self, name: str, place: Place, catalog: Catalog) -> Link: ...


class Ground(msgspec.Struct, frozen=True):
    """What replicas stand on: `open` begins it and tells their places, `hire` begins one there.

    `fault` tells at once what of it is gone, with every replica; closed, it may be opened anew.
    """

    open: Callable[[], Awaitable[list[Place]]]
    hire: Hire
    close: Callable[[], Awaitable[None]]
    fault: Callable[[], str | None]
