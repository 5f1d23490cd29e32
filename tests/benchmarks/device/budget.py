"""Time that is planned by: what does not fit any more is not begun."""

import time


class Budget:
    """Seconds from now on."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds to go."""
        return max(0.0, self._end - time.monotonic())

    def fits(self, seconds: float) -> bool:
        """Whether something that takes about so long can still be begun."""
        return seconds <= self.left

    def part(self, share: float) -> "Budget":
        """A share in (0, 1] of what is left; what it does not use is left to those after it."""
        return Budget(self.left * share)
