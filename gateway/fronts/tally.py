"""Limits that hold in sum over all fronts, for a glance at the database now and then.

A front is granted requests of a key's minute in shares, of which so few are left over that in
all fronts together they are no tenth of the limit. It keeps as few samples that it holds and
does not draw. So a limit is asked for once in a share, and small limits, which have shares of
one, are asked for as often as they allow.

Without the database each front goes by its own part of every limit.
"""

import asyncio
import math
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

import structlog

from gateway.accounts.tally import MINUTE, OwnTally
from gateway.fronts.counts import Counts, Held
from gateway.job import Priority
from gateway.outages import is_outage

T = TypeVar("T")
THREADS = 4
LEFT_OVER = 0.1
"""Of a limit: what may lie about in all fronts together."""

PATIENCE_SECONDS = 5.0
"""For the database, while somebody waits to be let in."""

AWAY_SECONDS = 2.0
"""For so long a database that did not answer is not asked again."""

log = structlog.get_logger()


class Away(Exception):
    """The database does not answer now."""


class Share:
    """Requests of one key that this front may take, by when they were granted."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.num_waiting = 0
        """Requests that wait for the lock."""

        self.refused_until = 0.0
        """Until then there is not one to be had."""

        self._granted: deque[tuple[float, int]] = deque()

    def left(self, now: float) -> int:
        """How many are left of the last minute's."""
        while self._granted and self._granted[0][0] <= now - MINUTE:
            self._granted.popleft()
        return sum(count for _, count in self._granted)

    def try_take(self, now: float, num_requests: int) -> bool:
        """Take some, the oldest first, where there are as many."""
        if self.left(now) < num_requests:
            return False
        while num_requests:
            at, count = self._granted.popleft()
            if count > num_requests:
                self._granted.appendleft((at, count - num_requests))
            num_requests -= min(count, num_requests)
        return True

    def add(self, at: float, num_requests: int) -> None:
        """Have some more."""
        self._granted.append((at, num_requests))


class Hold:
    """Samples of one key: those `used` at this front, and those `held` for it at the database.

    What is held there `is_certain` unless the database did not answer, or nobody waited for it.
    """

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.used = Held()
        self.held = Held()
        self.is_certain = True


class SharedTally:
    """One front's part in the counting; `num_fronts` is how many there are."""

    def __init__(self, counts: Counts) -> None:
        self.num_fronts = 1
        self._counts = counts
        self._own = OwnTally()
        self._shares: defaultdict[str, Share] = defaultdict(Share)
        self._holds: defaultdict[str, Hold] = defaultdict(Hold)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="fronts-tally")
        self._away_until = 0.0
        self._num_late = 0

    async def count(self, owner: str, limit: int, num_requests: int) -> float | None:
        """As `Tally`."""
        share = self._shares[owner]
        try:
            is_granted = share.try_take(time.monotonic(), num_requests)
            seconds = None if is_granted else await self._count(share, owner, limit, num_requests)
        except Away:
            return self._own.counted(owner, self._part(limit), num_requests)
        if seconds is None:
            self._own.note(owner, num_requests)
        return seconds

    @asynccontextmanager
    async def holding(
        self, owner: str, priority: Priority, limit: int, num_samples: int
    ) -> AsyncIterator[bool]:
        """As `Tally`."""
        hold = self._holds[owner]
        is_held = await self._try_hold(hold, owner, priority, limit, num_samples)
        try:
            yield is_held
        finally:
            if is_held:
                # Before who was drawn for is answered, and asks for more at another front.
                await asyncio.shield(self._release(hold, owner, priority, limit, num_samples))

    async def keep(self) -> None:
        """Say that this front lives, and give back what it holds and does not use."""
        with suppress(Away):
            there = await self._ask(self._counts.keep)
            for owner, hold in list(self._holds.items()):
                is_told = owner in there or hold.held == Held()
                if not (is_told and hold.is_certain and hold.held == hold.used):
                    async with hold.lock:
                        await self._settle(hold, owner)

    async def close(self) -> None:
        """Hold nothing any more."""
        with suppress(Away):
            await self._ask(self._counts.release_all)
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _count(
        self, share: Share, owner: str, limit: int, num_requests: int
    ) -> float | None:
        share.num_waiting += num_requests
        try:
            await share.lock.acquire()
        finally:
            share.num_waiting -= num_requests
        try:
            now = time.monotonic()
            if share.try_take(now, num_requests):
                return None
            if now < share.refused_until:
                return share.refused_until - now
            more = max(self._spare(limit) - 1, share.num_waiting)
            needed = num_requests - share.left(now)
            grant = await self._ask(self._counts.grant, owner, limit, needed, more)
            if not grant.num_requests:
                share.refused_until = now + grant.seconds if needed == 1 else 0.0
                return grant.seconds
            share.add(now, grant.num_requests)
            share.try_take(now, num_requests)
            return None
        finally:
            share.lock.release()

    async def _try_hold(
        self, hold: Hold, owner: str, priority: Priority, limit: int, num_samples: int
    ) -> bool:
        async with hold.lock:
            used = hold.used.changed(priority, num_samples)
            if used.of_own(priority) <= hold.held.of_own(priority):
                hold.used = used
                return True
            held = hold.held.changed(priority, used.of_own(priority) - hold.held.of_own(priority))
            hold.is_certain = False
            try:
                is_held = await self._ask(self._counts.hold, owner, limit, priority, held)
            except Away:
                is_held = used.of(priority) <= max(self._part(limit), num_samples)
                hold.used = used if is_held else hold.used
                return is_held
            hold.is_certain = True
            if is_held:
                hold.used, hold.held = used, held
            return is_held

    async def _release(
        self, hold: Hold, owner: str, priority: Priority, limit: int, num_samples: int
    ) -> None:
        async with hold.lock:
            hold.used = hold.used.changed(priority, -num_samples)
            left_over = hold.held.of_own(priority) - hold.used.of_own(priority)
            if left_over > self._spare(limit, least=0):
                with suppress(Away):
                    await self._settle(hold, owner)

    async def _settle(self, hold: Hold, owner: str) -> None:
        """Hold what is used and no more; the caller has the lock."""
        hold.is_certain = False
        await self._ask(self._counts.put, owner, used := hold.used)
        hold.held, hold.is_certain = used, True

    def _spare(self, limit: int, least: int = 1) -> int:
        """How many of a limit this front may have left over."""
        return max(least, int(limit * LEFT_OVER / self.num_fronts))

    def _part(self, limit: int) -> int:
        """This front's part of a limit."""
        return math.ceil(limit / self.num_fronts)

    async def _ask(self, work: Callable[..., T], *arguments: Any) -> T:
        """What the database says.

        Raises:
            Away: nothing, for now.
        """
        if self._num_late or time.monotonic() < self._away_until:
            raise Away
        asking = asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await asyncio.shield(asking)
        except Exception as error:
            if not isinstance(error, TimeoutError) and not is_outage(error):
                raise
            self._away_until = time.monotonic() + AWAY_SECONDS
            log.warning("limits go by this front's part: the database is away", fault=str(error))
            raise Away from error
        finally:
            if not asking.done():
                self._num_late += 1
                asking.add_done_callback(self._came_late)

    def _came_late(self, asking: asyncio.Future[Any]) -> None:
        self._num_late -= 1
        if not asking.cancelled():
            asking.exception()  # seen: nobody waits for it any more
