"""Whether a device still answers: a turn that lasts many times the longest so far does not."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

FIRST_SECONDS = 900.0
"""For the first turn, of which nothing is known: kernels may be compiled in it."""

LEAST_SECONDS = 60.0
TIMES_LONGEST = 20


class Pulse:
    """The turns of one device; written by its thread, read by any."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began: float | None = None
        self._longest: float | None = None

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Time a turn, however it ends."""
        began = self._began = self._clock()
        try:
            yield
        finally:
            self._began = None
            self._longest = max(self._longest or 0.0, self._clock() - began)

    @property
    def stuck_seconds(self) -> float | None:
        """How long the turn under way has lasted, if that is too long to be a turn."""
        if (began := self._began) is None:
            return None
        longest, seconds = self._longest, self._clock() - began
        most = FIRST_SECONDS if longest is None else max(LEAST_SECONDS, TIMES_LONGEST * longest)
        return seconds if seconds > most else None
