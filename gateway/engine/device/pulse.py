"""Whether a device still answers: a turn that lasts many times the longest so far does not."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

FIRST_SECONDS = 900.0
"""For the first turn, of which nothing is known: kernels may be compiled in it."""

LEAST_SECONDS = 60.0
TIMES_LONGEST = 20


class Pulse:
    """The turns of one device; written by its thread, read by any.

    Where one is issued while another runs, the second lasts from the end of the first.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began: float | None = None
        self._longest: float | None = None
        self._num_open = 0

    def begin(self) -> None:
        """A turn begins, unless others are before it."""
        self._num_open += 1
        if self._num_open == 1:
            self._began = self._clock()

    def end(self) -> None:
        """The turn under way has ended, and the next begins if there is one."""
        assert self._began is not None
        now = self._clock()
        self._longest = max(self._longest or 0.0, now - self._began)
        self._num_open -= 1
        self._began = now if self._num_open else None

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Time a turn, however it ends."""
        self.begin()
        try:
            yield
        finally:
            self.end()

    @property
    def stuck_seconds(self) -> float | None:
        """How long the turn under way has lasted, if that is too long to be a turn."""
        if (began := self._began) is None:
            return None
        longest, seconds = self._longest, self._clock() - began
        most = FIRST_SECONDS if longest is None else max(LEAST_SECONDS, TIMES_LONGEST * longest)
        return seconds if seconds > most else None
