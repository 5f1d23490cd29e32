"""The events of a job as whoever asked for it takes them; imports no torch."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from types import TracebackType
from typing import Any

from gateway.job import Event, Failed, Finished


class JobEvents(AsyncGenerator[Event]):
    """The events of a job's samples as they come; closed or dropped early, it cancels them.

    `cancel` is called once at most, by whichever thread finds it dropped. Not a generator
    function: one that is never begun would never clean up.
    """

    def __init__(
        self, events: "asyncio.Queue[Event]", num_samples: int, cancel: Callable[[], None]
    ) -> None:
        self._events = events
        self._num_open = num_samples
        self._cancel_samples = cancel

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
        if self._num_open:
            self._num_open = 0
            self._cancel_samples()
