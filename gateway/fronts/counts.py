"""What keys have been granted and hold, of all fronts together, by the database's one clock."""

import zlib
from typing import NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from gateway.accounts.tally import MINUTE
from gateway.job import Priority
from gateway.runs.durable.schema import requests, samples

HELD_SECONDS = 10.0
"""For so long a front that says nothing any more holds what it held."""

LOCKS = zlib.crc32(b"image-gateway keys") & 0x7FFFFFFF
_NOW = sa.func.extract("epoch", sa.func.clock_timestamp()).cast(sa.Float)


class Grant(NamedTuple):
    """How many requests a front may take; where none, in how many seconds it might."""

    num_requests: int
    seconds: float = 0.0


class Held(msgspec.Struct, frozen=True):
    """Samples of one key that a front holds, by their priority."""

    interactive: int = 0
    batch: int = 0

    def of_own(self, priority: Priority) -> int:
        """Those of a priority."""
        return self.interactive if priority == "interactive" else self.batch

    def of(self, priority: Priority) -> int:
        """Those that new ones of a priority come on top of: batches take no room from the rest."""
        return self.interactive if priority == "interactive" else self.interactive + self.batch

    def changed(self, priority: Priority, num_samples: int) -> "Held":
        """With so many more of a priority."""
        if priority == "interactive":
            return Held(self.interactive + num_samples, self.batch)
        return Held(self.interactive, self.batch + num_samples)


class Counts:
    """One front's; `front` is the name of its life. Every call blocks."""

    def __init__(self, engine: sa.Engine, front: str) -> None:
        self.engine = engine
        self.front = front

    def grant(self, owner: str, limit: int, needed: int, more: int) -> Grant:
        """So many requests of a key's minute, or none; and some more, as far as there are any."""
        mine = requests.c.owner == owner
        with self.engine.begin() as connection:
            now = _alone(connection, owner)
            connection.execute(sa.delete(requests).where(mine, requests.c.at <= now - MINUTE))
            query = sa.select(requests.c.at, requests.c.num_requests).where(mine)
            rows = connection.execute(query.order_by(requests.c.at))
            granted = [(row.at, row.num_requests) for row in rows]
            room = limit - sum(num for _, num in granted)
            if room < needed:
                return Grant(0, _until(granted, needed - room) - now)
            num = min(room, needed + more)
            values = {"owner": owner, "at": now, "num_requests": num}
            connection.execute(sa.insert(requests).values(values))
        return Grant(num)

    def hold(self, owner: str, limit: int, priority: Priority, held: Held) -> bool:
        """Hold so many samples in all, unless with those of other fronts they are too many."""
        others = sa.select(
            sa.func.coalesce(sa.func.sum(samples.c.interactive), 0),
            sa.func.coalesce(sa.func.sum(samples.c.batch), 0),
        )
        with self.engine.begin() as connection:
            now = _alone(connection, owner)
            theirs = (samples.c.owner == owner, samples.c.front != self.front)
            query = others.where(*theirs, samples.c.until > now)
            elsewhere = Held(*connection.execute(query).one())
            if elsewhere.of(priority) + held.of(priority) > limit:
                return False
            self._write(connection, owner, held, now)
        return True

    def put(self, owner: str, held: Held) -> None:
        """Hold so many samples in all, which is no more than before."""
        with self.engine.begin() as connection:
            self._write(connection, owner, held, _now(connection))

    def keep(self) -> set[str]:
        """Go on holding what is held, and forget what fronts held that are gone; of which keys."""
        mine = samples.c.front == self.front
        with self.engine.begin() as connection:
            now = _now(connection)
            nothing = samples.c.interactive + samples.c.batch == 0
            connection.execute(sa.delete(samples).where((samples.c.until <= now) | mine & nothing))
            kept = sa.update(samples).where(mine).values(until=now + HELD_SECONDS)
            return set(connection.execute(kept.returning(samples.c.owner)).scalars())

    def release_all(self) -> None:
        """Hold nothing any more."""
        with self.engine.begin() as connection:
            connection.execute(sa.delete(samples).where(samples.c.front == self.front))

    def _write(self, connection: sa.Connection, owner: str, held: Held, now: float) -> None:
        query = postgresql.insert(samples).values(
            owner=owner,
            front=self.front,
            until=now + HELD_SECONDS,
            interactive=held.interactive,
            batch=held.batch,
        )
        new = {name: query.excluded[name] for name in ("interactive", "batch", "until")}
        connection.execute(
            query.on_conflict_do_update(index_elements=["owner", "front"], set_=new)
        )


def _alone(connection: sa.Connection, owner: str) -> float:
    """Until the transaction ends no front counts for this key; the time it is then."""
    key = zlib.crc32(owner.encode()) & 0x7FFFFFFF
    # One after the other, as they stand; what follows is of a later snapshot.
    query = sa.select(sa.func.pg_advisory_xact_lock(LOCKS, key), _NOW)
    _, now = connection.execute(query).one()
    return float(now)


def _now(connection: sa.Connection) -> float:
    now: float = connection.execute(sa.select(_NOW)).scalar_one()
    return now


def _until(granted: list[tuple[float, int]], missing: int) -> float:
    """When so many of what was granted are a minute ago, given the oldest first."""
    for at, num in granted:
        missing -= num
        if missing <= 0:
            return at + MINUTE
    return granted[-1][0] + MINUTE if granted else 0.0
