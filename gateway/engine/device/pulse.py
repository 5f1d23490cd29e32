"""Whether a device still answers: a turn that lasts many times what such turns last does not."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

FIRST_SECONDS = 900.0
"""For the first turn of each kind, of which nothing is known: kernels may be compiled in it."""

LEAST_SECONDS = 60.0
TIMES_LONGEST = 20
FADE = 0.9
"""Of the longest so far, with every turn: one that compiled is forgotten in some dozens."""


class Pulse:
    """The turns of one device; written by its thread, read by any.

    Where one is issued while another runs, the second lasts from the end of the first. They are
    told apart by `kind`: what one endpoint's turns take says nothing of another's.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._line: tuple[float, tuple[tuple[str, float], ...]] = (0.0, ())
        """Since when the first of the open turns is under way; each one's kind, and its begin."""
        self._longest: dict[str, float] = {}

    def begin(self, kind: str = "") -> None:
        """A turn begins, unless others are before it."""
        now = self._clock()
        since, still = self._line
        self._line = (since if still else now, (*still, (kind, now)))

    def end(self) -> None:
        """The turn under way has ended, and the next begins if there is one."""
        now = self._clock()
        (kind, began), *others = self._line[1]
        self._longest[kind] = max(now - began, FADE * self._longest.get(kind, 0.0))
        self._line = (now, tuple(others))

    @contextmanager
    def turn(self, kind: str = "") -> Iterator[None]:
        """Time a turn, however it ends."""
        self.begin(kind)
        try:
            yield
        finally:
            self.end()

    @property
    def stuck_seconds(self) -> float | None:
        """How long the turn under way has lasted, if that is too long to be a turn."""
        since, still = self._line
        if not still:
            return None
        seconds = self._clock() - since
        most = max(self._most(kind) for kind, _ in still)
        return seconds if seconds > most else None

    def _most(self, kind: str) -> float:
        longest = self._longest.get(kind)
        return FIRST_SECONDS if longest is None else max(LEAST_SECONDS, TIMES_LONGEST * longest)
