"""What keys have had of late and have in progress: counted here, or by all fronts together."""

import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

from gateway.job import Priority

MINUTE = 60.0


class Tally(Protocol):
    """Counts for each key, and says what would be too much."""

    async def count(self, owner: str, limit: int, num_requests: int) -> float | None:
        """Count requests of a key that may make so many a minute: all of them or none.

        None if they are within its limit, else the seconds until they may be.
        """
        ...

    def holding(
        self, owner: str, priority: Priority, limit: int, num_samples: int
    ) -> AbstractAsyncContextManager[bool]:
        """Hold samples of a key while a block lasts; False where others have too many for them."""
        ...


class OwnTally:
    """One process's. Samples are bounded by its account of them, so that all are held here."""

    def __init__(self) -> None:
        self._asked: defaultdict[str, deque[float]] = defaultdict(deque)

    async def count(self, owner: str, limit: int, num_requests: int) -> float | None:
        """As `Tally`."""
        return self.counted(owner, limit, num_requests)

    def counted(self, owner: str, limit: int, num_requests: int) -> float | None:
        """The same, at once."""
        now, asked = time.monotonic(), self._of_late(owner)
        excess = len(asked) + num_requests - limit
        if excess > 0:
            return asked[excess - 1] + MINUTE - now if len(asked) >= excess else MINUTE
        asked.extend([now] * num_requests)
        return None

    def note(self, owner: str, num_requests: int) -> None:
        """Count requests, whatever the limit."""
        self._of_late(owner).extend([time.monotonic()] * num_requests)

    def _of_late(self, owner: str) -> deque[float]:
        """When a key asked in the last minute."""
        begin, asked = time.monotonic() - MINUTE, self._asked[owner]
        while asked and asked[0] <= begin:
            asked.popleft()
        return asked

    @asynccontextmanager
    async def holding(
        self, owner: str, priority: Priority, limit: int, num_samples: int
    ) -> AsyncIterator[bool]:
        """As `Tally`."""
        yield True
