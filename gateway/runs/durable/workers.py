"""dbos's queue workers, which look when a bell rings and not four times a second.

On PostgreSQL who queues something says so in its transaction (`Queues.put`), and the server
tells every process as it commits. SQLite counts commits, and to read the count costs 3 us.
"""

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

import sqlalchemy as sa
from dbos import DBOS, Queue
from dbos._queue import queue_worker_thread

from gateway.runs.durable.bell import Bell, Ear
from gateway.runs.durable.database import SERVER_ARGUMENTS
from gateway.runs.durable.queues import CHANNEL

COUNT_SECONDS = 0.2
PAUSE_SECONDS = 1.0
"""Before a database that told nothing more is asked again."""

JOIN_SECONDS = 10.0
"""For threads that a database which is gone may hold up."""


class Workers:
    """A thread for each queue, and the task that listens to the database for them."""

    def __init__(self, dbos: DBOS, queues: Sequence[Queue], engine: sa.Engine) -> None:
        self.bell = Bell()
        _quieten(dbos)
        queues = [*queues, dbos._registry.get_internal_queue()]
        self._threads = [
            threading.Thread(
                target=queue_worker_thread,
                args=(Ear(self.bell), dbos, queue),
                name=f"queue-{queue.name}",
                daemon=True,
            )
            for queue in queues
        ]
        for thread in self._threads:
            thread.start()
        self._listening = asyncio.create_task(_listen(engine, self.bell.ring))
        self.bell.ring()

    async def stop(self) -> None:
        """End the threads, each when it has begun what it has taken from its queue."""
        self._listening.cancel()
        self.bell.close()
        await asyncio.to_thread(self._join)

    def _join(self) -> None:
        deadline = time.monotonic() + JOIN_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))


def _quieten(dbos: DBOS) -> None:
    """Stop dbos's own looking around: nothing here is delayed, timed or scheduled by it."""
    for event in (*dbos.background_thread_stop_events, dbos._background_jobs_stop_event):
        event.set()


async def _listen(engine: sa.Engine, ring: Callable[[], None]) -> None:
    """Ring whenever something has been queued by anybody, until cancelled."""
    is_server = engine.dialect.name == "postgresql"
    hear = _hear_server if is_server else _count_commits
    while True:
        await hear(engine, ring)
        await asyncio.sleep(PAUSE_SECONDS)
        ring()  # what came meanwhile was not heard


async def _hear_server(engine: sa.Engine, ring: Callable[[], None]) -> None:
    """Ring at every notice of the server, for as long as the connection lasts."""
    import psycopg  # noqa: PLC0415  only who has a server needs it

    _, arguments = engine.dialect.create_connect_args(engine.url)
    options: dict[str, Any] = {**arguments, **SERVER_ARGUMENTS, "autocommit": True}
    try:
        connection = await psycopg.AsyncConnection.connect(**options)
        async with connection:
            await connection.execute(f"LISTEN {CHANNEL}")
            ring()
            async for _ in connection.notifies():
                ring()
    except (psycopg.Error, OSError):
        return


async def _count_commits(engine: sa.Engine, ring: Callable[[], None]) -> None:
    """Ring whenever the file has changed, for as long as it can be read."""
    try:
        with closing(sqlite3.connect(engine.url.database or "", timeout=0)) as connection:
            seen = None
            while True:
                found = connection.execute("PRAGMA data_version").fetchone()
                if found != seen:
                    seen = found
                    ring()
                await asyncio.sleep(COUNT_SECONDS)
    except sqlite3.Error:
        return
