"""Who goes next. No torch, no clock, no I/O: plain decisions over plain facts."""

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Protocol, TypeVar

BATCH_WEIGHT = 4.0
"""Device time of an endpoint that runs batch samples alone counts so many times."""

BATCH_AT_ONCE = 16
"""Batch samples in a forward of their own: an interactive sample that comes waits for its end."""


class Turn(Protocol):
    """What the decision needs to know of a sample; `arrival` counts up."""

    @property
    def endpoint(self) -> str: ...
    @property
    def owner(self) -> str: ...
    @property
    def is_batch(self) -> bool: ...
    @property
    def arrival(self) -> int: ...


S = TypeVar("S", bound=Turn)


def next_to_start(waiting: Sequence[S], running: Collection[S]) -> S | None:
    """The sample to start: interactive before batch, fair between owners, oldest first."""
    owned = Counter(sample.owner for sample in running)
    return min(
        waiting,
        key=lambda sample: (sample.is_batch, owned[sample.owner], sample.arrival),
        default=None,
    )


class Room:
    """The places that running samples leave; batch samples take none from interactive ones."""

    def __init__(self, running: Collection[Turn], max_batch: int) -> None:
        self._max_batch = max_batch
        self._all = Counter(sample.endpoint for sample in running)
        self._interactive = Counter(sample.endpoint for sample in running if not sample.is_batch)

    def is_for(self, sample: Turn) -> bool:
        """Whether a sample may start."""
        taken = self._all if sample.is_batch else self._interactive
        return taken[sample.endpoint] < self._max_batch


def next_to_advance(parked: Sequence[S], max_batch: int) -> list[S]:
    """Of one endpoint's samples those that go on; batch ones wait where there are too many.

    Beside interactive samples go no more batch ones than there are of them: where a forward's
    time grows with its samples, a full one would keep people waiting for what nobody awaits.
    """
    inorder = sorted(parked, key=lambda sample: sample.arrival)
    interactive = [sample for sample in inorder if not sample.is_batch]
    batch = [sample for sample in inorder if sample.is_batch]
    return (interactive + batch[: len(interactive) or BATCH_AT_ONCE])[:max_batch]


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
        return min(sorted(ready), key=lambda name: self._seconds[name])

    def charge(self, endpoint: str, seconds: float, *, is_batch: bool = False) -> None:
        """Account device time to an endpoint."""
        weight = BATCH_WEIGHT if is_batch else 1.0
        self._seconds[endpoint] = self._seconds.get(endpoint, 0.0) + weight * seconds


class Pace:
    """How fast an endpoint goes, from its latest turns; older ones fade."""

    FADE = 0.95

    def __init__(self) -> None:
        self._seconds = 0.0
        self._steps = 0.0
        self._samples = 0.0
        self._turns = 0.0
        self._pixels = 0.0
        self._pixels_squared = 0.0
        self._pixel_seconds = 0.0

    def note(self, seconds: float, steps: int, samples: int, pixels: int = 0) -> None:
        """A turn took so long, and brought its samples so many denoising steps in all.

        `pixels` are those of all its samples together.
        """
        self._seconds = self._seconds * self.FADE + seconds
        self._steps = self._steps * self.FADE + steps
        self._samples = self._samples * self.FADE + samples
        self._turns = self._turns * self.FADE + 1
        self._pixels = self._pixels * self.FADE + pixels
        self._pixels_squared = self._pixels_squared * self.FADE + pixels**2
        self._pixel_seconds = self._pixel_seconds * self.FADE + pixels * seconds

    def turn_seconds(self, pixels: float) -> float:
        """How long a turn of samples with so many pixels in all should take.

        A line through the latest turns: what any turn costs, and what each pixel adds. Turns
        all alike tell no such line apart; then time is taken to grow with the pixels.
        """
        if not self._pixels:
            return self.step_seconds
        spread = self._turns * self._pixels_squared - self._pixels**2
        shared = self._turns * self._pixel_seconds - self._pixels * self._seconds
        most = self._seconds / self._pixels
        is_told_apart = spread > 1e-6 * self._pixels**2
        each = min(most, max(0.0, shared / spread)) if is_told_apart else most
        return (self._seconds - each * self._pixels) / self._turns + each * pixels

    @property
    def seconds_per_sample_step(self) -> float:
        """Device time of one step of one sample, its share of what was batched."""
        return self._seconds / self._steps if self._steps > 0 else 0.0

    @property
    def step_seconds(self) -> float:
        """How long a sample waits for one step, among the others."""
        share = self._samples / self._turns if self._turns else 0.0
        return self.seconds_per_sample_step * share
