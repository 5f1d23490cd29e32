"""When the device will be done with what. No torch, no clock, no I/O."""

import heapq
import itertools
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Protocol

from gateway.accounts.admission import Leaving, departures
from gateway.engine.turns import Pace, Turn

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
