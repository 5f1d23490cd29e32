"""How many bytes each key has in the store, and no more than it may have.

Bytes are written down here before they are in the store and given up after they are gone
from it, so that a crash leaves none that nobody counts: what was reserved and never settled
is swept, bytes and all. A key's total stands beside its rows and changes with them, which
makes asking for room one atomic step, whichever process asks.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar
from uuid import uuid4

import sqlalchemy as sa

from gateway.errors import Conflict, Forbidden, RateLimited, StorageFull
from gateway.runs.durable.schema import kept, kept_totals

T = TypeVar("T")
LEAST_BYTES = 4096
"""What a file counts at least: millions of empty ones fill a disk too."""

OPEN_UPLOADS = 100
"""Of one key, promised or under way."""

WRITE_SECONDS = 3600
"""How long writing may take before what is there of it is swept."""

SWEPT_AT_ONCE = 200
_HELD = kept.c.until.is_not(None)


class Quota:
    """Counts what is kept for each owner; `limit_bytes` of 0 refuses nothing.

    `now` is the calendar's: a clock that jumps must not end what is promised, nor sweep it.
    """

    def __init__(
        self, engine: sa.Engine, threads: Executor, limit_bytes: int, now: Callable[[], float]
    ) -> None:
        self.engine = engine
        self.limit_bytes = limit_bytes
        self._threads = threads
        self._now = now

    @asynccontextmanager
    async def room(self, owner: str, size_bytes: int) -> AsyncIterator["Room"]:
        """Hold room for up to so many bytes while they come; what is not settled is let go.

        Raises:
            StorageFull: as many more may not be kept.
            RateLimited: too many of the owner's uploads are under way.
        """
        room = Room(self, owner)
        await self._in_thread(self._reserve, owner, room.key, size_bytes, self._now(), True)
        try:
            yield room
        finally:
            if room.is_held:
                await asyncio.shield(self._in_thread(self._release, room.key, _HELD))

    async def promise(self, owner: str, key: str, size_bytes: int, seconds: float) -> None:
        """Hold room for what may be written to a key within some time.

        Raises:
            StorageFull, RateLimited: as `room`.
        """
        until = self._now() + seconds
        await self._in_thread(self._reserve, owner, key, size_bytes, until, False)

    async def claim(self, key: str) -> str:
        """Begin to write what was promised, which nobody else may then; the owner.

        Raises:
            Conflict: it has been written, or is being.
            Forbidden: it was not promised, or not for so long.
        """
        return await self._in_thread(self._claim, key)

    async def unclaim(self, key: str) -> None:
        """Have it promised as before: nothing was written."""
        await self._in_thread(self._unclaim, key)

    async def settle(self, owner: str, key: str, size_bytes: int) -> None:
        """Count what has been written for good, whether room was held for it or not."""
        await self._in_thread(self._settle, owner, key, size_bytes)

    async def release(self, key: str) -> None:
        """Count a key no more: its bytes are gone, or never came."""
        await self._in_thread(self._release, key)

    async def total(self, owner: str) -> int:
        """How many bytes are kept or held for an owner."""
        return await self._in_thread(self._total, owner)

    async def abandoned(self) -> list[str]:
        """Some keys that were held and not settled in time."""
        return await self._in_thread(self._abandoned)

    async def move(self, owner: str, key: str, to: str, size_bytes: int) -> bool:
        """Have room held for another key; False where that one has its own."""
        return await self._in_thread(self._move, owner, key, to, size_bytes)

    async def _in_thread(self, work: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)

    def _reserve(self, owner: str, key: str, size_bytes: int, until: float, claimed: bool) -> None:
        with self.engine.begin() as connection:
            if not _add(connection, owner, _counted(size_bytes), self.limit_bytes):
                raise StorageFull(
                    f"There is no room for {size_bytes} bytes beside the "
                    f"{_total(connection, owner)} kept for this API key, which may have "
                    f"{self.limit_bytes}. Delete files, or wait until they expire."
                )
            num_open, first = _opened(connection, owner)
            if num_open >= OPEN_UPLOADS:
                raise RateLimited(
                    f"{OPEN_UPLOADS} uploads of this API key are promised or under way.",
                    retry_after_seconds=first - self._now(),
                )
            _insert(connection, owner, key, size_bytes, until=until, is_claimed=claimed)

    def _claim(self, key: str) -> str:
        may = sa.and_(kept.c.key == key, ~kept.c.is_claimed, kept.c.until > self._now())
        with self.engine.begin() as connection:
            query = sa.update(kept).where(may).values(is_claimed=True)
            if row := connection.execute(query.returning(kept.c.owner)).first():
                return str(row.owner)
            row = connection.execute(sa.select(kept).where(kept.c.key == key)).first()
        if row and (row.is_claimed or row.until is None):
            raise Conflict("This upload URL has been used.")
        raise Forbidden("This upload URL has expired.")

    def _unclaim(self, key: str) -> None:
        query = sa.update(kept).where(kept.c.key == key, _HELD)
        with self.engine.begin() as connection:
            connection.execute(query.values(is_claimed=False))

    def _settle(self, owner: str, key: str, size_bytes: int) -> None:
        with self.engine.begin() as connection:
            # First, since it makes the owner's other transactions wait.
            _add(connection, owner, _counted(size_bytes))
            if row := _delete(connection, key):
                _add(connection, owner, -row.size_bytes)
            _insert(connection, owner, key, size_bytes)

    def _release(self, key: str, *conditions: sa.ColumnElement[bool]) -> None:
        with self.engine.begin() as connection:
            if row := _delete(connection, key, *conditions):
                _add(connection, row.owner, -row.size_bytes)

    def _move(self, owner: str, key: str, to: str, size_bytes: int) -> bool:
        with self.engine.begin() as connection:
            row = _delete(connection, key)
            # First, since it makes the owner's other transactions wait.
            _add(connection, owner, -row.size_bytes if row else 0)
            if connection.execute(sa.select(kept.c.key).where(kept.c.key == to)).first():
                return False
            _add(connection, owner, _counted(size_bytes))
            _insert(connection, owner, to, size_bytes, until=self._now(), is_claimed=True)
            return True

    def _total(self, owner: str) -> int:
        with self.engine.connect() as connection:
            return _total(connection, owner)

    def _abandoned(self) -> list[str]:
        now = self._now()
        late = sa.or_(kept.c.until < now - WRITE_SECONDS, ~kept.c.is_claimed)
        query = sa.select(kept.c.key).where(kept.c.until < now, late).limit(SWEPT_AT_ONCE)
        with self.engine.connect() as connection:
            return list(connection.execute(query).scalars())


class Room:
    """Room that is held for an owner until its block ends, or what it is for is kept."""

    def __init__(self, quota: Quota, owner: str) -> None:
        self.quota = quota
        self.owner = owner
        self.key = f"coming/{uuid4().hex}"
        self.size_bytes = 0
        self.is_held = True

    async def take(self, key: str, size_bytes: int) -> None:
        """Say what is going to be written where; the same key again counts once."""
        self.is_held = await self.quota.move(self.owner, self.key, key, size_bytes)
        self.key, self.size_bytes = key, size_bytes

    async def settle(self) -> None:
        """Keep what has been written."""
        await self.quota.settle(self.owner, self.key, self.size_bytes)
        self.is_held = False


def _counted(size_bytes: int) -> int:
    return max(size_bytes, LEAST_BYTES)


def _add(connection: sa.Connection, owner: str, num_bytes: int, limit: int = 0) -> bool:
    """Change an owner's total unless it would be above a limit; False where it would.

    The row stays locked until the transaction ends, so that an owner's changes are made one
    after another.
    """
    query = sa.update(kept_totals).where(kept_totals.c.owner == owner)
    changed = query.values(size_bytes=kept_totals.c.size_bytes + num_bytes)
    if limit:
        changed = changed.where(kept_totals.c.size_bytes + num_bytes <= limit)
    if connection.execute(changed).rowcount:
        return True
    with suppress(sa.exc.IntegrityError), connection.begin_nested():
        connection.execute(sa.insert(kept_totals).values(owner=owner, size_bytes=0))
    return bool(connection.execute(changed).rowcount)


def _total(connection: sa.Connection, owner: str) -> int:
    query = sa.select(kept_totals.c.size_bytes).where(kept_totals.c.owner == owner)
    return int(connection.execute(query).scalar() or 0)


def _opened(connection: sa.Connection, owner: str) -> tuple[int, float]:
    """How many uploads of an owner are not settled, and when the first of them expires."""
    query = sa.select(sa.func.count(), sa.func.min(kept.c.until)).where(
        kept.c.owner == owner, _HELD
    )
    num_open, first = connection.execute(query).one()
    return num_open, first or 0.0


def _insert(
    connection: sa.Connection,
    owner: str,
    key: str,
    size_bytes: int,
    *,
    until: float | None = None,
    is_claimed: bool = False,
) -> None:
    values = {"key": key, "owner": owner, "size_bytes": _counted(size_bytes)}
    values |= {"until": until, "is_claimed": is_claimed}
    connection.execute(sa.insert(kept).values(values))


def _delete(connection: sa.Connection, key: str, *conditions: sa.ColumnElement[bool]) -> Any:
    query = sa.delete(kept).where(kept.c.key == key, *conditions)
    return connection.execute(query.returning(kept.c.owner, kept.c.size_bytes)).first()
