"""A device whose forwards end when the test says so, behind the real hub's timeline."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from gateway.engine.sample import Sample
from tests.engine.workbench import Workbench, job


class Moment:
    """A mark that passes when all forwards before it have ended."""

    at: float | None = None

    def seconds_since(self, earlier: "Moment") -> float:
        assert self.at is not None
        assert earlier.at is not None
        return self.at - earlier.at


class SlowDevice:
    """A line of forwards, marks and what follows them, in the order in which they were given.

    `num_running` are forwards that were given and have not ended.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.num_running = 0
        self._lock = threading.RLock()
        self._line: deque[Moment | Wait | Callable[[], None] | None] = deque()

    @property
    def second(self) -> "SlowSecond | None":
        return None

    def mark(self) -> Moment:
        with self._lock:
            self._line.append(moment := Moment())
            self._pass()
        return moment

    def follow(self, then: Callable[[], None]) -> None:
        with self._lock:
            self._line.append(then)
            self._pass()

    def end(self, seconds: float = 1.0) -> None:
        """The oldest forward under way ends, after so long."""
        with self._lock:
            assert self._line.popleft() is None, "it waits for the other line"
            self.num_running -= 1
            self.now += seconds
            self._pass()

    def end_all(self) -> None:
        """All forwards under way end, but for those that wait for another line's."""
        while self._line and self._line[0] is None:
            self.end()

    def take(self, bench: Workbench) -> None:
        """Have the forwards of a workbench's endpoints given to this device."""
        for loaded in bench.shelf.loaded.values():
            for entry in loaded.entries:
                entry.original = self._given(entry.original)

    def _given(self, inner: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            self.give()
            return inner(*args, **kwargs)

        return run

    def give(self) -> None:
        """A forward is given to it."""
        with self._lock:
            self._line.append(None)
            self.num_running += 1

    def wait_for(self, other: "SlowDevice") -> None:
        """What comes from now on waits for what another was given."""
        with self._lock:
            moment = other.mark()
            self._line.append(Wait(moment))
            other.follow(self._pass)

    def _pass(self) -> None:
        while self._line and self._line[0] is not None:
            passed = self._line[0]
            if isinstance(passed, Wait) and passed.moment.at is None:
                return
            self._line.popleft()
            if isinstance(passed, Moment):
                passed.at = self.now
            elif not isinstance(passed, Wait):
                passed()


class Wait:
    """For a moment of another line."""

    def __init__(self, moment: Moment) -> None:
        self.moment = moment


class TwoLines(SlowDevice):
    """A device with a second line; `beside` are the forwards that were given to that."""

    def __init__(self) -> None:
        super().__init__()
        self.beside = SlowDevice()
        self._second = SlowSecond(self, self.beside)

    @property
    def second(self) -> "SlowSecond":
        return self._second

    def give(self) -> None:
        """A forward is given to the line that is current."""
        if self._second.is_current:
            self.beside.give()
        else:
            super().give()


class SlowSecond:
    """The second line; `num_joins` times the first one waited for it."""

    def __init__(self, first: SlowDevice, timeline: SlowDevice) -> None:
        self.first = first
        self.timeline = timeline
        self.is_current = False
        self.num_joins = 0

    @contextmanager
    def given(self, tensors: Iterable[Tensor]) -> Iterator[None]:
        assert list(tensors)
        self.timeline.wait_for(self.first)
        self.is_current = True
        try:
            yield
        finally:
            self.is_current = False

    def join(self) -> None:
        self.num_joins += 1
        self.first.wait_for(self.timeline)


def single(bench: Workbench, prompt: str, seed: int, steps: int, **more: object) -> Sample:
    return bench.add(job("sd", prompt, seed, steps, guidance_scale=1.0, **more))[0]


def turns(bench: Workbench, number: int = 5) -> None:
    """Chances to issue more than there may be."""
    for _ in range(number):
        bench.turn()
