"""How many samples a forward is best given, learned from the time forwards take.

A forward that outgrows a CPU's caches costs more a sample than a small one, and one that fills
a GPU no less, so a large group is answered in portions. No torch, no clock.
"""

WORTHWHILE = 0.92
"""A smaller portion is taken if its samples cost less than this share of the larger's."""
HOPELESS = 1.3
"""Smaller portions yet are not tried once one costs so many times the best."""
LATEST = 0.3
"""How much a forward counts beside those before it."""
NUM_WHOLE = 8
"""Groups answered whole before smaller portions are tried."""
NUM_BETWEEN_TRIALS = 64
"""Groups between two looks at whether the neighbouring portions have become better."""


class Portions:
    """Seconds a sample by size of forward, in powers of two, and the best size so far."""

    def __init__(self) -> None:
        self._seconds: dict[int, float] = {}
        self._num_groups = 0
        self.forward_seconds: float | None = None

    def note(self, num_samples: int, seconds: float) -> None:
        """A forward of so many samples took so long."""
        size, cost = _power(num_samples), seconds / num_samples
        known = self._seconds.setdefault(size, cost)
        self._seconds[size] = _followed(known, cost)
        before = seconds if self.forward_seconds is None else self.forward_seconds
        self.forward_seconds = _followed(before, seconds)

    def of(self, num_samples: int) -> int:
        """The most samples a forward of this group should have."""
        whole = _power(num_samples)
        if whole == 1 or whole not in self._seconds:
            return num_samples
        self._num_groups += 1
        if self._num_groups < NUM_WHOLE:
            return num_samples  # what a first forward of some size took says little of it
        best = self._best(whole)
        if untried := self._untried(whole, best):
            return untried
        if self._num_groups % NUM_BETWEEN_TRIALS == 0:
            looks_up = self._num_groups // NUM_BETWEEN_TRIALS % 2
            best = min(whole, best * 2) if looks_up else max(1, best // 2)
        return num_samples if best == whole else best

    @property
    def best(self) -> int | None:
        """The size that is best as far as is known; None until smaller ones have been tried."""
        largest = max(self._seconds, default=1)
        if self._num_groups < NUM_WHOLE or self._untried(largest, self._best(largest)):
            return None
        return self._best(largest)

    def _untried(self, whole: int, best: int) -> int:
        """The next smaller size to try, downwards until they are hopeless; 0 for none."""
        size = whole // 2
        hopeless = HOPELESS * self._seconds[best]
        while size in self._seconds and (size >= best or self._seconds[size] <= hopeless):
            size //= 2
        return 0 if size in self._seconds else size

    def _best(self, whole: int) -> int:
        best = whole
        for size in sorted(self._seconds, reverse=True):
            if size < best and self._seconds[size] < WORTHWHILE * self._seconds[best]:
                best = size
        return best


def _followed(known: float, latest: float) -> float:
    return known + LATEST * (latest - known)


def _power(number: int) -> int:
    """The largest power of two within a number."""
    return 1 << (number.bit_length() - 1)
