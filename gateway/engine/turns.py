"""Who goes next. No torch, no clock, no I/O: plain decisions over plain facts."""

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Protocol, TypeVar


class Waiting(Protocol):
    """What the decision needs to know of a sample; `arrival` counts up."""

    @property
    def endpoint(self) -> str: ...
    @property
    def owner(self) -> str: ...
    @property
    def is_batch(self) -> bool: ...
    @property
    def arrival(self) -> int: ...


S = TypeVar("S", bound=Waiting)


def next_to_start(waiting: Sequence[S], running: Collection[S]) -> S | None:
    """The sample to start: interactive before batch, fair between owners, oldest first."""
    owned = Counter(sample.owner for sample in running)
    return min(
        waiting,
        key=lambda sample: (sample.is_batch, owned[sample.owner], sample.arrival),
        default=None,
    )


class Shares:
    """Device time per endpoint: the one that has had least goes next.

    An endpoint that was idle starts level with the one furthest behind, so that its
    silence is no credit.
    """

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    def next(self, ready: Collection[str]) -> str:
        """The endpoint among those with work that goes next."""
        assert ready
        known = [self._seconds[name] for name in ready if name in self._seconds]
        floor = min(known, default=0.0)
        self._seconds = {name: self._seconds.get(name, floor) for name in ready}
        return min(ready, key=lambda name: self._seconds[name])

    def charge(self, endpoint: str, seconds: float) -> None:
        """Account device time to an endpoint."""
        self._seconds[endpoint] = self._seconds.get(endpoint, 0.0) + seconds
