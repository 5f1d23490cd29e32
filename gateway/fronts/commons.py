"""What the fronts of one PostgreSQL hold in common, and how each of them hears of changes."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import sqlalchemy as sa

from gateway.catalog.collection import Collection, Folders
from gateway.fronts import changes
from gateway.fronts.adapters import SharedBoard
from gateway.fronts.counts import Counts
from gateway.fronts.keys import SharedKeys
from gateway.fronts.secrets import joined_secrets, read_secrets
from gateway.fronts.tally import SharedTally
from gateway.images.signing import Signer
from gateway.outages import again
from gateway.runs.durable.database import close_database, open_database
from gateway.runs.durable.slots import num_held
from gateway.settings import Settings

LOOK_SECONDS = 1.0
"""Between two glances at what others have changed."""

QUICK = "SET statement_timeout = 5000; SET idle_in_transaction_session_timeout = 5000"
"""A front that was stopped in the middle of counting must not stop the others."""


class Commons:
    """One front's view of it. Opening it blocks."""

    def __init__(self, settings: Settings) -> None:
        self._engine = _quick(open_database(settings))
        with self._engine.connect() as connection:
            self._seen = dict(changes.seen(connection))
        self.keys = SharedKeys(self._engine)
        self.keys.adopt(settings.data)
        self.signer = Signer(joined_secrets(self._engine, settings.data))
        self.tally = SharedTally(Counts(self._engine, uuid.uuid4().hex))
        self.board = SharedBoard(self._engine)

    @asynccontextmanager
    async def followed(
        self, collection: Collection, folders: Folders, notice: Callable[[], None]
    ) -> AsyncIterator[None]:
        """Hear what other fronts change for as long as the block lasts.

        `notice` is called when an adapter is served no more.
        """
        async def hear() -> None:
            if await asyncio.to_thread(self.board.hear, collection, folders):
                notice()

        # Apart, since an adapter may have to be fetched first.
        tasks = [asyncio.create_task(again(LOOK_SECONDS, act)) for act in (self._follow, hear)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            await self.tally.close()
            await asyncio.to_thread(close_database, self._engine)

    async def _follow(self) -> None:
        await asyncio.to_thread(self._look)
        await self.tally.keep()

    def _look(self) -> None:
        """See what has changed, and how many fronts there are."""
        with self._engine.connect() as connection:
            seen = changes.seen(connection)
            self.tally.num_fronts = max(1, num_held(connection))
        if seen.get("keys") != self._seen.get("keys"):
            self.keys.read()
        if seen.get("secrets") != self._seen.get("secrets"):
            self.signer.learn(read_secrets(self._engine))
        self._seen = dict(seen)


def _quick(engine: sa.Engine) -> sa.Engine:
    """An engine whose server waits for nothing long, from the next connection on."""
    engine.dispose()

    @sa.event.listens_for(engine, "connect")
    def hurry(connection: Any, _record: Any) -> None:
        connection.execute(QUICK)
        connection.commit()

    return engine
