"""The host runs at most one turn ahead of its device, and tells of what has happened there.

A GPU answers a call before it has run it. Left alone the host would issue all steps of a
picture at once: who comes then could not join, who leaves would free nothing, and progress
and times would be the host's. So a turn is issued while the one before it runs, never
earlier, and what is told of it follows the device.

A device may have a second line, on which pictures are decoded beside the next denoising.
"""

import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol, TypeVar

from torch import Tensor

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

    @property
    def second(self) -> "SecondLine | None":
        """A line of the same device beside this one; None where nothing runs beside anything."""
        ...


class SecondLine(Protocol):
    """What runs beside a device's first line, and the order between the two.

    What follows one line is told after what followed the other before.
    """

    @property
    def timeline(self) -> Timeline:
        """Its own moments."""
        ...

    def given(self, tensors: Iterable[Tensor]) -> AbstractContextManager[None]:
        """Give the device what is issued within on this line, once all before is done.

        The tensors, which the first line made, stay as they are until this line has used them.
        """
        ...

    def join(self) -> None:
        """Have what is given to the first line from now on begin when this one is done."""
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

    @property
    def second(self) -> None:
        """None: it is done when the call returns."""
        return None


class HostMark(float):
    """A reading of this machine's clock."""

    def seconds_since(self, earlier: "HostMark") -> float:
        """What the clock says."""
        return self - earlier


class Goer(Protocol):
    """Who goes along in a turn: whether beside the others, and what it brings."""

    @property
    def goes_beside(self) -> bool: ...

    @property
    def brings(self) -> Iterator[Tensor]: ...


G = TypeVar("G", bound=Goer)


class Line:
    """The turns that one line of a device has been given and has not done."""

    def __init__(self, timeline: Timeline) -> None:
        self.timeline = timeline
        self.num_open = 0


class Pacing:
    """The turns that a device has been given and has not done, one of them at most in advance.

    What it learns of them it does on the engine's thread, by `tell`.
    """

    def __init__(
        self, timeline: Timeline, tell: Callable[[Command], None], pulse: Pulse | None = None
    ) -> None:
        self._tell = tell
        self._pulse = pulse or Pulse()
        self._line = self._first = Line(timeline)
        self._beside = timeline.second
        self._second = Line(self._beside.timeline) if self._beside else None
        self._were_beside: weakref.WeakSet[Any] = weakref.WeakSet()

    @property
    def has_room(self) -> bool:
        """Whether the next turn may be issued: the one before the last has been done."""
        return all(line.num_open < 2 for line in (self._first, self._second) if line)

    def lines(self, goers: Sequence[G]) -> list[tuple[AbstractContextManager[None], list[G]]]:
        """Who goes along in a turn, each with the line that theirs is issued on, in this order.

        Who goes beside comes first, so as to wait for nothing that this turn gives the others.
        """
        if self._second is None:
            return [(nullcontext(), list(goers))]
        beside = [one for one in goers if one.goes_beside]
        others = [one for one in goers if not one.goes_beside]
        both = [(self._on_second(beside), beside), (self._on_first(others), others)]
        return [(line, those) for line, those in both if those]

    @contextmanager
    def _on_second(self, goers: Sequence[Goer]) -> Iterator[None]:
        assert self._beside is not None
        assert self._second is not None
        self._were_beside.update(goers)
        with self._beside.given(tensor for one in goers for tensor in one.brings):
            self._line = self._second
            try:
                yield
            finally:
                self._line = self._first

    @contextmanager
    def _on_first(self, goers: Sequence[Goer]) -> Iterator[None]:
        if not self._were_beside.isdisjoint(goers):
            assert self._beside is not None
            self._beside.join()
            self._were_beside.clear()
        yield

    def follow(self, then: Command) -> None:
        """Call `then` once the device has done what it has been given so far."""
        self._line.timeline.follow(then)

    @contextmanager
    def timed(self, then: Seconds) -> Iterator[None]:
        """Have `then` called with the seconds that the device took for what is issued within.

        What raises is not timed.
        """
        began = self._line.timeline.mark()
        yield
        self._time(began, then)

    @contextmanager
    def turn(self, then: Seconds, kind: str = "") -> Iterator[None]:
        """Issue a turn, and have `then` called with the seconds it took the device.

        Turns of one `kind` should take about as long.
        """

        line = self._line

        def passed(seconds: float) -> None:
            line.num_open -= 1
            self._pulse.end()
            then(seconds)

        began = line.timeline.mark()
        line.num_open += 1
        self._pulse.begin(kind)
        try:
            yield
        finally:
            self._time(began, passed)

    def _time(self, began: Mark, then: Seconds) -> None:
        ended = self._line.timeline.mark()
        self._line.timeline.follow(lambda: self._tell(lambda: then(ended.seconds_since(began))))
