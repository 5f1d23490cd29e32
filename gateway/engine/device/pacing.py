"""The host runs at most one turn ahead of its device, and tells of what has happened there.

A GPU answers a call before it has run it. Left alone the host would issue all steps of a
picture at once: who comes then could not join, who leaves would free nothing, and progress
and times would be the host's. So a turn is issued while the one before it runs, never
earlier, and what is told of it follows the device.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from gateway.engine.device.pulse import Pulse

Command = Callable[[], None]
Seconds = Callable[[float], None]


class Timeline(Protocol):
    """What a device does, in its order; written by the engine's thread."""

    def mark(self) -> "Mark":
        """The moment at which all that the device has been given so far is done."""
        ...

    def follow(self, then: Command) -> None:
        """Call `then` at that moment, in the order of these calls, maybe in another thread."""
        ...


class Mark(Protocol):
    """A moment on a device's timeline."""

    def seconds_since(self, earlier: Any) -> float:
        """Seconds between two moments of one timeline that have both passed."""
        ...


class HostTimeline:
    """A device that has done what it was given when the call returns: a CPU."""

    def mark(self) -> "HostMark":
        """Now."""
        return HostMark(time.perf_counter())

    def follow(self, then: Command) -> None:
        """Call it now."""
        then()


class HostMark(float):
    """A reading of this machine's clock."""

    def seconds_since(self, earlier: "HostMark") -> float:
        """What the clock says."""
        return self - earlier


class Pacing:
    """The turns that a device has been given and has not done, one of them at most in advance.

    What it learns of them it does on the engine's thread, by `tell`.
    """

    def __init__(
        self, timeline: Timeline, tell: Callable[[Command], None], pulse: Pulse | None = None
    ) -> None:
        self._timeline = timeline
        self._tell = tell
        self._pulse = pulse or Pulse()
        self._num_open = 0

    @property
    def has_room(self) -> bool:
        """Whether the next turn may be issued: the one before the last has been done."""
        return self._num_open < 2

    def follow(self, then: Command) -> None:
        """Call `then` once the device has done what it has been given so far."""
        self._timeline.follow(then)

    @contextmanager
    def timed(self, then: Seconds) -> Iterator[None]:
        """Have `then` called with the seconds that the device took for what is issued within.

        What raises is not timed.
        """
        began = self._timeline.mark()
        yield
        self._time(began, then)

    @contextmanager
    def turn(self, then: Seconds) -> Iterator[None]:
        """Issue a turn, and have `then` called with the seconds it took the device."""

        def passed(seconds: float) -> None:
            self._num_open -= 1
            self._pulse.end()
            then(seconds)

        began = self._timeline.mark()
        self._num_open += 1
        self._pulse.begin()
        try:
            yield
        finally:
            self._time(began, passed)

    def _time(self, began: Mark, then: Seconds) -> None:
        ended = self._timeline.mark()
        self._timeline.follow(lambda: self._tell(lambda: then(ended.seconds_since(began))))
