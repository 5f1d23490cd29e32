"""Work in flight that several requests may wait for: a retry joins, the last to leave cancels."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Flight(Generic[T]):
    """One piece of work and the number of requests waiting for it."""

    def __init__(self, task: "asyncio.Task[T]") -> None:
        self.task = task
        self.num_waiters = 0


class Flights(Generic[T]):
    """Flights by key; a key stands for who asks and for what, to the byte."""

    def __init__(self) -> None:
        self._flights: dict[str, Flight[T]] = {}

    def joinable(self, key: str, *, is_retry: bool) -> bool:
        """Whether a request may join instead of starting anew.

        A retry may always, and anyone may join work whose waiters have all gone. Two
        clients that ask for the same at once want two pictures.
        """
        flight = self._flights.get(key)
        return flight is not None and (is_retry or flight.num_waiters == 0)

    @asynccontextmanager
    async def aboard(
        self,
        key: str,
        start: Callable[[], Coroutine[Any, Any, T]],
        *,
        is_retry: bool,
        linger_seconds: float,
    ) -> AsyncIterator["asyncio.Task[T]"]:
        """Start or join the work and wait for it inside the block.

        When the last waiter leaves, unfinished work is cancelled after `linger_seconds`,
        in which a retry can still come aboard.
        """
        if self.joinable(key, is_retry=is_retry):
            flight = self._flights[key]
        else:
            flight = Flight(asyncio.create_task(start()))
            flight.task.add_done_callback(lambda _task: self._landed(key, flight))
            self._flights[key] = flight
        flight.num_waiters += 1
        try:
            yield flight.task
        finally:
            flight.num_waiters -= 1
            if flight.num_waiters == 0 and not flight.task.done():
                asyncio.get_running_loop().call_later(linger_seconds, _abandon, flight)

    def _landed(self, key: str, flight: Flight[T]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
        if not flight.task.cancelled():
            flight.task.exception()  # seen: nobody may be left to await it


def _abandon(flight: Flight[Any]) -> None:
    if flight.num_waiters == 0:
        flight.task.cancel()
