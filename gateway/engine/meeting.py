"""Who comes together travels together. No torch, no clock, no I/O.

Samples that begin apart never share a forward again that both could have shared: so those who
left together are waited for a moment, and whoever has not begun denoising lets those behind
come as far.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from typing import Protocol, TypeVar

from gateway.engine.turns import Turn, account

SHARE = 0.1
"""Of a turn's time, that newcomers are held at most for others."""
MOST_HELD = 3
"""Turns that a sample waits at most for those behind it."""


class Travelling(Turn, Protocol):
    """What there is to know of how far a sample is; `num_calls` have been answered."""

    @property
    def num_calls(self) -> int: ...
    @property
    def num_steps_done(self) -> int: ...
    @property
    def num_turns_held(self) -> int: ...


S = TypeVar("S", bound=Travelling)


class Meeting:
    """Those who left an endpoint, and are expected back; a lone one waits for nobody."""

    def __init__(self) -> None:
        self._num_expected = 0
        self._first_came: float | None = None

    def left(self, num_samples: int) -> None:
        """So many have been told their end."""
        self._num_expected += num_samples

    def came(self, num_samples: int) -> None:
        """So many are here anew."""
        self._num_expected = max(0, self._num_expected - num_samples)

    def seconds_to_wait(self, turn_seconds: float, now: float) -> float:
        """How long those who are here wait for more, on whatever clock; 0 to begin.

        Who has not come by then is not expected any more.
        """
        if self._num_expected and self._first_came is None:
            self._first_came = now
        if self._first_came is not None and self._num_expected:
            seconds = self._first_came + SHARE * turn_seconds - now
            if seconds > 0:
                return seconds
        self._num_expected, self._first_came = 0, None
        return 0.0


def ahead(going: Sequence[S], best: Callable[[S], float]) -> list[S]:
    """Of those who could go along, those who let others of their owner catch up first.

    Who fills a forward of the `best` size, or has begun denoising, waits for nobody.
    """
    cohorts: defaultdict[Hashable, list[S]] = defaultdict(list)
    for sample in going:
        if not sample.num_steps_done:
            cohorts[account(sample), sample.pixels].append(sample)
    return [
        sample for cohort in cohorts.values() for sample in _ahead(cohort, best(cohort[0]))
    ]


def _ahead(cohort: list[S], best: float) -> list[S]:
    furthest_behind = min(sample.num_calls for sample in cohort)
    those_ahead = [one for one in cohort if one.num_calls > furthest_behind]
    if len(those_ahead) >= best:
        return []
    return [one for one in those_ahead if one.num_turns_held < MOST_HELD]
