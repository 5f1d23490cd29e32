"""When the device will be done with what, and who is let in by that. No torch, no clock, no I/O."""

import heapq
import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Protocol, get_args

from gateway.accounts.admission import Asker, Door, Leaving, departures
from gateway.catalog.cards import EndpointCard
from gateway.engine.turns import AskedSample, Pace, Turn
from gateway.errors import Overloaded
from gateway.job import Priority
from gateway.settings import Settings

PaceOf = Callable[[str], Pace]


class Progress(Turn, Protocol):
    """What there is to know of how far a sample is."""

    @property
    def has_begun(self) -> bool: ...
    @property
    def num_steps_left(self) -> int: ...


def seconds_left(samples: Sequence[Progress], pace_of: PaceOf) -> float:
    """Device time of what samples have left."""
    return sum(pace_of(one.endpoint).sample_seconds(one.num_steps_left) for one in samples)


def leaving(
    inside: Sequence[Progress], later: Progress, pace_of: PaceOf, max_batch: int
) -> Leaving:
    """When the samples inside will have left, oldest first, and others like `later` after them.

    Every owner has an equal part of the device; what runs at once ends later by that much.
    """
    owned: defaultdict[str, list[Progress]] = defaultdict(list)
    for sample in inside:
        owned[sample.owner].append(sample)
    slots = max(1, min(max_batch, len(inside)) // len(owned))

    def among_all(sample: Progress) -> float:
        return slots * len(owned) * seconds_left([sample], pace_of)

    streams = (
        departures(
            owner,
            [among_all(sample) for sample in samples if sample.has_begun],
            [among_all(sample) for sample in samples if not sample.has_begun],
            among_all(later),
            slots,
        )
        for owner, samples in owned.items()
    )
    return heapq.merge(*streams)


def seconds_to_finish(
    inside: Sequence[Progress], wanted: Sequence[Progress], pace_of: PaceOf, max_batch: int
) -> float:
    """An estimate for new samples of one job: their own steps, after those they wait for.

    Of another owner no more go before them than it has itself. Batch samples keep no
    interactive one waiting; they double its forwards at most.
    """
    one = wanted[0]
    near = [sample for sample in inside if sample.endpoint == one.endpoint]
    rivals = [sample for sample in near if one.is_batch or not sample.is_batch]
    own = sum(sample.owner == one.owner for sample in rivals) + len(wanted)
    numbers: defaultdict[str, itertools.count[int]] = defaultdict(itertools.count)
    ahead = [sample for sample in rivals if next(numbers[sample.owner]) < own]
    num_waited_for = max(0, len(ahead) + len(wanted) - max_batch)
    num_together = min(max_batch, len(ahead) + len(wanted))
    num_together += min(num_together, len(near) - len(rivals))
    turn_seconds = pace_of(one.endpoint).turn_seconds(num_together * one.pixels)
    return seconds_left(ahead[:num_waited_for], pace_of) + one.num_steps_left * turn_seconds


class Entrance:
    """The doors, for people and for batches, of one device or of as many as work together."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._doors = {priority: Door(1) for priority in get_args(Priority)}
        self.resize(1)

    def resize(self, num_devices: int) -> None:
        """Have the places of so many devices from now on."""
        self._num_devices = num_devices
        num_running = num_devices * self._settings.max_batch
        num_waiting = num_devices * self._settings.max_waiting
        # Those that run, and half as many to follow them.
        num_busy = num_running + min(num_running, num_waiting) // 2
        for door in self._doors.values():
            door.resize(num_running + num_waiting, num_busy)

    def check(
        self,
        samples: Sequence[AskedSample],
        inside: Sequence[AskedSample],
        pace_of: PaceOf,
        card: EndpointCard | None,
        now: float,
    ) -> None:
        """Let a job's samples in beside those inside, which came in this order.

        `now` is on the clock of the job's deadline.

        Raises:
            Overloaded: with the seconds after which there should be room.
        """
        job, most = samples[0].job, self._settings.max_batch
        max_batch = self._num_devices * min(most, (card and card.max_batch) or most)
        alike = [sample for sample in inside if sample.job.priority == job.priority]
        seconds = self._doors[job.priority].ask(
            Asker(job.owner, job.claim or job.id, len(samples), is_own=not job.claim),
            now,
            Counter(sample.owner for sample in alike),
            lambda: leaving(alike, samples[0], pace_of, max_batch),
        )
        if seconds is not None:
            raise Overloaded("The engine is busy. Try again later.", retry_after_seconds=seconds)
        if job.deadline is None:
            return
        needed = seconds_to_finish(inside, samples, pace_of, max_batch)
        if (late := now + needed - job.deadline) > 0:
            raise Overloaded(
                "The queue is too long for this request's deadline.",
                retry_after_seconds=max(1.0, late),
            )
