"""What accepted work stands on: threads for the database, claims, the calendar."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from typing import Any, TypeVar

import sqlalchemy as sa

from gateway.errors import DatabaseUnavailable
from gateway.outages import patiently
from gateway.runs.durable.calendar import Calendar
from gateway.runs.durable.claims import ALONE_AFTER_CRASHES, Claims

T = TypeVar("T")
DATABASE_THREADS = 8
SILENCE_SECONDS = 45.0
"""A little more than SQLite's writers wait for each other."""


class Ground:
    """One process's."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        self.claims = Claims(engine)
        self.calendar = Calendar(engine)
        self._solitude = asyncio.Lock()
        self.threads = ThreadPoolExecutor(DATABASE_THREADS, thread_name_prefix="runs-database")

    async def in_thread(self, work: Callable[..., T], *arguments: Any, **named: Any) -> T:
        """Run what blocks outside the event loop."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.threads, partial(work, *arguments, **named))

    async def ask(self, work: Callable[..., T], *arguments: Any, **named: Any) -> T:
        """Run what blocks on the database.

        Raises:
            DatabaseUnavailable: the database has said nothing for long.
        """
        try:
            async with asyncio.timeout(SILENCE_SECONDS):
                return await self.in_thread(work, *arguments, **named)
        except TimeoutError:
            raise DatabaseUnavailable("The gateway's database does not answer.") from None

    async def patiently(self, work: Callable[..., T], *arguments: Any, **named: Any) -> T:
        """The same, for as long as it takes the database to come back."""
        return await patiently(lambda: self.ask(work, *arguments, **named), "database")

    def beside_others(self, num_crashes: int) -> AbstractAsyncContextManager[None]:
        """Where work is done that was in flight at crashes: no two suspects at a time."""
        return self._solitude if num_crashes >= ALONE_AFTER_CRASHES else nullcontext()
