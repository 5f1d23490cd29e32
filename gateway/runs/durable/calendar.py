"""What day it is, for what cannot be undone: a clock that jumps must not delete anything.

A wall clock may be set wrong and right again while time just passes. The calendar follows it
as long as the two agree. Once it is far ahead of what has passed, by a jump or over a night
that the machine was off, the calendar catches up at twice the pace of time: what looks a
month old is deleted a month later, unless the clock is set right before.
"""

import threading
import time
from collections.abc import Callable

import sqlalchemy as sa
import structlog

from gateway.runs.durable.schema import calendar, runs

log = structlog.get_logger()

BELIEVED_SECONDS = 3600.0
"""Further ahead of the calendar than this, a clock is doubted."""

PACE = 2.0
NAME = "calendar"


def passed_seconds() -> float:
    """Of the machine's own time since it was started, asleep or awake; nobody can set it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Calendar:
    """Seconds since the epoch, never ahead of the wall clock; kept in the database."""

    def __init__(
        self,
        engine: sa.Engine,
        wall: Callable[[], float] = time.time,
        passed: Callable[[], float] = passed_seconds,
    ) -> None:
        self.engine = engine
        self._wall = wall
        self._passed = passed
        self._ticked = passed()
        self._at = self._read()
        self._doubted = False
        self._lock = threading.Lock()

    def now(self) -> float:
        """The time to judge by how old something is."""
        with self._lock:
            wall, ticked = self._wall(), self._passed()
            since, self._ticked = max(0.0, ticked - self._ticked), ticked
            ahead = wall - self._at
            doubted = ahead > BELIEVED_SECONDS
            self._at = min(wall, self._at + PACE * since) if doubted else wall
            if doubted and not self._doubted:
                log.warning("the clock is ahead of what has passed; sweeps wait", seconds=ahead)
            self._doubted = doubted
            return self._at

    def seconds_left(self, since: float, seconds: float) -> float:
        """Of some seconds that began at a time: none are lost, or won, by a clock's jump."""
        return min(seconds, max(0.0, since + seconds - self.now()))

    def keep(self) -> None:
        """Write the date down, for the next process, after a look at the server's; blocks."""
        now = self.now()
        with self.engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                now = min(now, connection.execute(_SERVERS_CLOCK).scalar_one())
            query = sa.update(calendar).where(calendar.c.name == NAME)
            if connection.execute(query.values(at=now)).rowcount == 0:
                connection.execute(sa.insert(calendar).values(name=NAME, at=now))
        with self._lock:
            self._at = now

    def _read(self) -> float:
        """The date kept last; without one, when the newest run was changed, else the clock's."""
        kept = sa.select(calendar.c.at).where(calendar.c.name == NAME)
        newest = sa.select(sa.func.max(runs.c.updated_at))
        with self.engine.connect() as connection:
            for query in (kept, newest):
                if (at := connection.execute(query).scalar()) is not None:
                    return float(at)
        return self._wall()


_SERVERS_CLOCK = sa.text("SELECT extract(epoch FROM clock_timestamp())::float")
