"""Who comes together travels together. No torch, no clock, no I/O.

Samples that begin apart never share a forward again that both could have shared. So whoever
has not begun denoising stops before a forward that is worth it: for those of its owner that
are behind it, and, shorter, for those who left and are expected back.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from typing import Protocol, TypeVar

from gateway.engine.turns import Turn, account

CATCHING_UP = 0.5
"""Of the time of the steps before it, that a sample waits at most for those behind it."""
MOST_STEPS = 4
"""That count for that: who has fifty before it is not to wait for twenty-five."""
COMING_BACK = 0.1
"""Of the time of its next forward, that a sample waits at most for those who left."""


class Travelling(Turn, Protocol):
    """What there is to know of how far a sample is; `num_calls` have been answered.

    `held_since` is when it was held back from the next one, None where it was not.
    """

    @property
    def num_calls(self) -> int: ...
    @property
    def num_steps_done(self) -> int: ...
    @property
    def held_since(self) -> float | None: ...


S = TypeVar("S", bound=Travelling)


class Meeting:
    """Those who left an endpoint, and are expected back; a lone one waits for nobody."""

    def __init__(self) -> None:
        self._num_expected = 0

    def left(self, num_samples: int) -> None:
        """So many have been told their end."""
        self._num_expected += num_samples

    def came(self, num_samples: int) -> None:
        """So many are here anew."""
        self._num_expected = max(0, self._num_expected - num_samples)

    def begun(self) -> None:
        """Some have begun denoising: who has not come by then is not expected any more."""
        self._num_expected = 0

    def waits(
        self,
        going: Sequence[S],
        best: Callable[[S], float],
        forward_seconds: Callable[[S], float | None],
        now: float,
    ) -> dict[S, float]:
        """Of those who could go along, those who are held back, and for how many seconds yet.

        Those who fill a forward of the `best` size, and who has begun denoising, wait for
        nobody; nor does anyone for the absent while others go on, whose turn would be missed.
        `forward_seconds` are what a sample's next call takes, where it is known.
        """
        awaits = self._num_expected and not any(sample.num_steps_done for sample in going)
        cohorts: defaultdict[Hashable, list[S]] = defaultdict(list)
        for sample in going:
            if not sample.num_steps_done:
                cohorts[account(sample), sample.pixels].append(sample)
        held: dict[S, float] = {}
        for cohort in cohorts.values():
            furthest_behind = min(sample.num_calls for sample in cohort)
            those_ahead = [one for one in cohort if one.num_calls > furthest_behind]
            is_full, is_whole = (len(some) >= best(cohort[0]) for some in (those_ahead, cohort))
            for sample in cohort:
                seconds = forward_seconds(sample)
                waits = _for_others(sample, seconds) if sample in those_ahead and not is_full else 0
                if awaits and not is_whole:
                    waits = max(waits, COMING_BACK * (seconds or 0))
                if sample.held_since is not None:
                    waits -= now - sample.held_since
                if waits > 0:
                    held[sample] = waits
        return held


def _for_others(sample: Turn, forward_seconds: float | None) -> float:
    """How long a sample waits for those behind it; to their end where nothing is known."""
    if forward_seconds is None:
        return float("inf")
    return CATCHING_UP * forward_seconds * min(sample.num_steps, MOST_STEPS)
