"""Whether a peer goes on: in every window of time it has to move some bytes, either way."""

MIN_BYTES_PER_SECOND = 1024
"""A body of 64 MiB may take eighteen hours; a byte now and then is no body."""


class Pace:
    """What a peer moves in windows of so many seconds; times are in seconds of any clock."""

    def __init__(self, seconds: float, now: float, num_bytes: int = 0) -> None:
        self.seconds = seconds
        self.restart(now, num_bytes)

    def restart(self, now: float, num_bytes: int) -> None:
        """Begin a window: so many bytes have been moved until now."""
        self._began, self._num_bytes = now, num_bytes

    def has_stalled(self, now: float, num_bytes: int) -> bool:
        """Whether a window has passed with less than its due."""
        if now - self._began < self.seconds:
            return False
        is_slow = num_bytes - self._num_bytes < self.seconds * MIN_BYTES_PER_SECOND
        self.restart(now, num_bytes)
        return is_slow
