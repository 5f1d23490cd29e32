"""Replicas as Ray's actors: Ray finds them a device and a process, and tells when that ends."""

import asyncio
import pickle
import re
import secrets
import socket
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing, suppress
from functools import partial
from typing import Any

import ray
from ray.exceptions import RayError

from gateway.catalog.abilities import Abilities
from gateway.catalog.cards import CardError
from gateway.catalog.catalog import Catalog
from gateway.cluster.connection import (
    DRAW,
    QUESTION,
    TOKEN_BYTES,
    Connection,
    Listener,
    asked_now,
)
from gateway.cluster.devices import Place
from gateway.cluster.link import ReplicaLostError
from gateway.cluster.replica import Beat, Replica, replica_of
from gateway.job import Failed
from gateway.settings import Settings

ANSWER_SECONDS = 2.0
"""For a question that the event loop waits for."""

REASON_SECONDS = 1.0
"""For Ray to tell what became of a process whose connection broke."""

PUT_DOWN = "it was put down"
BROKEN = "its connection broke"

Make = Callable[[Settings, Catalog, Place], Replica]

_DETAIL = re.compile(r"Worker exit detail: ([^.\n]+)")


class ReplicaActor:
    """A replica in a process of its own, whose main thread answers the front.

    No method may be `async`: Ray would have a loop of its own for them, and this thread for itself.
    """

    def __init__(self, make: Make, settings: Settings, catalog: Catalog, place: Place) -> None:
        self._replica = make(settings, catalog, place)
        here: Any = ray.util.get_node_ip_address
        host = here()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._near = socket.create_server((host, 0), family=family)

    def address(self) -> tuple[str, int]:
        """Where it listens."""
        host, port, *_ = self._near.getsockname()
        return host, port

    def serve(self, token: bytes) -> None:
        """Answer whoever has the token, as long as the process lives.

        Left to Ray, the thread would be woken a hundred times a second.
        """
        draw, answered = self._replica.draw, partial(_answered, self._replica)
        listener = Listener(token, {DRAW: draw, QUESTION: answered})
        asyncio.run(listener.serve(self._near))


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
            scheduling_strategy="SPREAD",
        )
        self._actor = placed.remote(make, settings, catalog, place)
        self._token = secrets.token_bytes(TOKEN_BYTES)
        self._address = ("", 0)
        self._connection: Connection | None = None
        self._serving: asyncio.Future[None] | None = None

    async def made(self) -> None:
        """See `Link.made`."""
        try:
            self._address = await self._actor.address.remote()
            self._serving = asyncio.ensure_future(self._actor.serve.remote(self._token))
            self._connection = await Connection.opened(*self._address, self._token)
        except RayError as error:
            raise ReplicaLostError(why(error)) from None
        except OSError as error:
            raise ReplicaLostError(f"it cannot be reached: {error}") from None

    async def start(self) -> str | None:
        """See `Link.start`."""
        fault: str | None = await self._ask("start")
        return fault

    def draw(self, packed: bytes) -> AsyncGenerator[bytes]:
        """See `Link.draw`."""
        return self._call(DRAW, packed)

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
        if self._connection is not None:
            self._connection.close()
        self._connection = None
        if self._serving is not None:
            self._serving.cancel()  # Ray, ended, would not tell
        with suppress(RayError):
            ray.kill(self._actor)

    async def _ask(self, method: str, *arguments: Any) -> Any:
        """What a method of the replica answers."""
        question = pickle.dumps((method, arguments))
        async with aclosing(self._call(QUESTION, question)) as answers:
            async for answer in answers:
                return pickle.loads(answer)
        raise ReplicaLostError(f"it had no answer to `{method}`")

    def _ask_now(self, method: str, *arguments: Any) -> Any:
        question = pickle.dumps((method, arguments))
        answer = asked_now(*self._address, self._token, question, ANSWER_SECONDS)
        return None if answer is None else pickle.loads(answer)

    async def _call(self, kind: int, body: bytes) -> AsyncGenerator[bytes]:
        if self._connection is None:
            raise ReplicaLostError(PUT_DOWN)
        try:
            async with aclosing(self._connection.call(kind, body)) as answers:
                async for answer in answers:
                    yield answer
        except ConnectionError:
            raise ReplicaLostError(await self._what_became()) from None

    async def _what_became(self) -> str:
        """Why the connection broke, which Ray knows where the process has ended."""
        if self._connection is None or self._serving is None:
            return PUT_DOWN
        await asyncio.wait({self._serving}, timeout=REASON_SECONDS)
        if not self._serving.done() or self._serving.cancelled():
            return BROKEN
        error = self._serving.exception()
        return why(error) if error else BROKEN


async def _answered(replica: Replica, question: bytes) -> AsyncGenerator[bytes]:
    method, arguments = pickle.loads(question)
    yield pickle.dumps(await getattr(replica, method)(*arguments))


def why(error: BaseException) -> str:
    """What became of a replica, in a line."""
    text = str(error).strip()
    if found := _DETAIL.search(text):
        return f"its process has ended: {found[1]}"
    return text.splitlines()[-1].strip() if text else type(error).__name__
