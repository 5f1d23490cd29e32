"""A device whose forwards end when the test says so, behind the real hub's timeline."""

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from tests.engine.workbench import Workbench


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
        self._line: deque[Moment | Callable[[], None] | None] = deque()

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
            assert self._line.popleft() is None
            self.num_running -= 1
            self.now += seconds
            self._pass()

    def end_all(self) -> None:
        """All forwards under way end."""
        while self.num_running:
            self.end()

    def take(self, bench: Workbench) -> None:
        """Have the forwards of a workbench's endpoints given to this device."""
        for loaded in bench.shelf.loaded.values():
            for entry in loaded.entries:
                entry.original = self._given(entry.original)

    def _given(self, inner: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            with self._lock:
                self._line.append(None)
                self.num_running += 1
            return inner(*args, **kwargs)

        return run

    def _pass(self) -> None:
        while self._line and self._line[0] is not None:
            passed = self._line.popleft()
            if isinstance(passed, Moment):
                passed.at = self.now
            elif passed is not None:
                passed()
