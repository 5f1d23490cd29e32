"""Who goes next. No torch, no clock, no I/O: plain decisions over plain facts."""

import itertools
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Protocol, TypeVar

from gateway.job import Job

BATCH_WEIGHT = 4.0
"""Device time of an endpoint that runs batch samples alone counts so many times."""

BATCH_AT_ONCE = 16
"""Batch samples in a forward of their own: an interactive sample that comes waits for its end."""


STEPS_BEFORE = 8
"""So many that came later may go before a sample for each step that they have less."""

FORWARDS_BEFOREHAND = 2.0
"""Forwards of the best size that one turn's samples fill at most: one, and the next."""


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
    @property
    def pixels(self) -> int: ...
    @property
    def num_steps(self) -> int: ...


class AskedSample(ABC):
    """Sample number `number` of a job, as that asks for it; drawn here or elsewhere.

    `arrival` counts samples up over an engine's life.
    """

    def __init__(self, job: Job, number: int, arrival: int) -> None:
        self.job = job
        self.number = number
        self.arrival = arrival
        self.num_steps_done = 0

    @property
    def endpoint(self) -> str:
        """The endpoint it runs on."""
        return self.job.endpoint

    @property
    def owner(self) -> str:
        """Whose it is."""
        return self.job.owner

    @property
    def is_batch(self) -> bool:
        """Whether interactive samples go before it."""
        return self.job.priority == "batch"

    @property
    def pixels(self) -> int:
        """How many its picture has."""
        return self.job.width * self.job.height

    @property
    def num_steps(self) -> int:
        """Denoising steps in all."""
        return self.job.num_inference_steps

    @property
    def num_steps_left(self) -> int:
        """Denoising steps to go."""
        return self.num_steps - self.num_steps_done

    @property
    @abstractmethod
    def has_begun(self) -> bool:
        """Whether it is being drawn."""


S = TypeVar("S", bound=Turn)


def next_to_start(
    waiting: Sequence[S], running: Collection[S], had: "Callable[[str], float]" = lambda _: 0.0
) -> S | None:
    """The sample to start: interactive before batch, fair between owners, as they are due.

    Of owners with as many running goes first who `had` less device time.
    """
    owned = Counter(sample.owner for sample in running)
    return min(
        waiting,
        key=lambda sample: (
            sample.is_batch,
            owned[sample.owner],
            had(account(sample)),
            due(sample),
        ),
        default=None,
    )


def due(sample: Turn) -> int:
    """Who has the least goes first: short work before long, and nobody waits without end."""
    return sample.arrival + STEPS_BEFORE * sample.num_steps


def account(sample: Turn) -> str:
    """What a sample's device time is charged to: its owner's people, or its batches."""
    return f"batch {sample.owner}" if sample.is_batch else sample.owner


class Room:
    """The places that running samples leave; batch samples take none from interactive ones.

    Of a batch's places a quarter at most is kept for owners who are expected back.
    """

    def __init__(
        self,
        running: Collection[Turn],
        max_batch: int,
        companies: "Mapping[str, Company]" = MappingProxyType({}),
    ) -> None:
        self._max_batch = max_batch
        self._companies = companies
        self._all = Counter(sample.endpoint for sample in running)
        self._interactive = Counter(sample.endpoint for sample in running if not sample.is_batch)
        self._owners = {(sample.endpoint, sample.owner) for sample in running}

    def is_for(self, sample: Turn) -> bool:
        """Whether a sample may start."""
        taken = self._all if sample.is_batch else self._interactive
        return taken[sample.endpoint] + self._kept_from(sample) < self._max_batch

    def _kept_from(self, sample: Turn) -> int:
        company = self._companies.get(sample.endpoint)
        owners = company.owners if company else ()
        absent = [
            owner
            for owner in owners
            if owner != sample.owner and (sample.endpoint, owner) not in self._owners
        ]
        return min(len(absent), self._max_batch // 4)


def next_to_advance(
    parked: Sequence[S],
    max_batch: int,
    is_short: Callable[[int], bool] = lambda _: True,
    forwards: Callable[[S], float] = lambda _: 0.0,
) -> list[S]:
    """Of one endpoint's samples those that go on; the others wait, parked.

    Of each owner as many, as they are due, while a turn of all their pixels `is_short`, and no
    more than fill the next two `forwards` of the best size, of which each takes some part: who
    is there beyond would only make all of them late. Beside interactive samples go no more
    batch ones than there are of them: where a forward's time grows with its samples, a full
    one would keep people waiting for what nobody awaits.
    """
    inorder = sorted(parked, key=due)
    interactive = _alternating([sample for sample in inorder if not sample.is_batch])
    batch = _filling([sample for sample in inorder if sample.is_batch], forwards)
    sums = itertools.accumulate(sample.pixels for sample in interactive)
    num_short = sum(1 for _ in itertools.takewhile(is_short, sums))
    going = _filling(interactive[: max(1, num_short)], forwards)
    return (going + batch[: len(going) or BATCH_AT_ONCE])[:max_batch]


def _filling(samples: list[S], forwards: Callable[[S], float]) -> list[S]:
    filled = itertools.accumulate(forwards(sample) for sample in samples)
    return samples[: max(1, sum(1 for part in filled if part <= FORWARDS_BEFOREHAND))]


def _alternating(samples: Iterable[S]) -> list[S]:
    """The first of each owner, then the second of each, and so on."""
    numbers: Counter[str] = Counter()
    rounds: defaultdict[int, list[S]] = defaultdict(list)
    for sample in samples:
        rounds[numbers[sample.owner]].append(sample)
        numbers[sample.owner] += 1
    return [sample for number in sorted(rounds) for sample in rounds[number]]


class Company:
    """The owners on an endpoint, and how many pixels each brought when last seen.

    None of them should be worse off than with an equal part of the device to itself. So from
    each go as many along as from the one with fewest, where a turn's time grows with its
    samples; and more where that hardly matters: while a turn takes no longer than that of a
    single sample, times the owners.
    """

    LINGER_SECONDS = 1.0
    """For so long after its last sample an owner is expected with the next."""

    def __init__(self) -> None:
        self._pixels: dict[str, int] = {}
        self._single = 0
        self._seen: dict[str, float] = {}

    def note(self, running: Iterable[Turn], waiting: Iterable[Turn], now: float) -> None:
        """Who is there now, on whatever clock; who only waits should find room for one soon."""
        brought: Counter[str] = Counter()
        for sample in (one for one in running if not one.is_batch):
            brought[sample.owner] += sample.pixels
            self._single = sample.pixels
        for sample in (one for one in waiting if not one.is_batch):
            brought.setdefault(sample.owner, sample.pixels)
        self._pixels |= brought
        self._seen |= dict.fromkeys(brought, now)
        gone = [name for name, at in self._seen.items() if now - at > self.LINGER_SECONDS]
        for name in gone:
            del self._pixels[name], self._seen[name]

    @property
    def owners(self) -> Collection[str]:
        """Who is there, or expected back."""
        return self._pixels.keys()

    def allows(self, pixels: int, turn_seconds: Callable[[float], float]) -> bool:
        """Whether a turn of so many pixels is short enough for everyone."""
        if len(self._pixels) < 2:
            return True
        num_owners, least = len(self._pixels), min(self._pixels.values())
        if pixels <= num_owners * least:
            return True
        return turn_seconds(pixels) <= num_owners * turn_seconds(self._single)


class Shares:
    """Device time per endpoint, or per owner: the one that has had least goes next.

    One that was idle starts level with the one furthest behind, so that its silence is no
    credit.
    """

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    def meet(self, present: Collection[str]) -> None:
        """Those who have work now; the others are forgotten."""
        known = [self._seconds[name] for name in present if name in self._seconds]
        floor = min(known, default=0.0)
        self._seconds = {name: self._seconds.get(name, floor) for name in present}

    def had(self, name: str) -> float:
        """The seconds one has had, of those that all can be compared by."""
        return self._seconds.get(name, 0.0)

    def least(self, ready: Collection[str]) -> str:
        """The one of several that has had least."""
        assert ready
        return min(sorted(ready), key=self.had)

    def next(self, ready: Collection[str]) -> str:
        """The one among those with work that goes next."""
        self.meet(ready)
        return self.least(ready)

    def charge(self, name: str, seconds: float, *, is_batch: bool = False) -> None:
        """Account device time."""
        weight = BATCH_WEIGHT if is_batch else 1.0
        self._seconds[name] = self.had(name) + weight * seconds


class Pace:
    """How fast an endpoint goes, from its latest turns; older ones fade."""

    FADE = 0.95

    def __init__(self) -> None:
        self._seconds = 0.0
        self._steps = 0.0
        self._samples = 0.0
        self._done = 0.0
        self._turns = 0.0
        self._pixels = 0.0
        self._pixels_squared = 0.0
        self._pixel_seconds = 0.0

    def note(
        self, seconds: float, steps: int, samples: int, pixels: int = 0, done: int = 0
    ) -> None:
        """A turn took so long, and brought its samples so many denoising steps in all.

        `pixels` are those of all its samples together; so many of them were `done` with it.
        """
        self._seconds = self._seconds * self.FADE + seconds
        self._steps = self._steps * self.FADE + steps
        self._samples = self._samples * self.FADE + samples
        self._done = self._done * self.FADE + done
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

    def sample_seconds(self, steps: int) -> float:
        """Device time of a sample with so many steps to go, and with what it calls besides."""
        if not self._done:
            return steps * self.seconds_per_sample_step
        beside = (self._samples - self._steps) / self._done
        return max(0.0, steps + beside) * self._seconds / self._samples

    @property
    def step_seconds(self) -> float:
        """How long a sample waits for one step, among the others."""
        share = self._samples / self._turns if self._turns else 0.0
        return self.seconds_per_sample_step * share
