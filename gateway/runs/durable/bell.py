"""A bell for those who look into the database: while it is silent they hardly look at all."""

import threading
import time

BRISK_SECONDS = 2.0
"""How long after a ring its hearers go on at their own pace, for what follows from what came."""

IDLE_SECONDS = 15.0
"""Between two looks while nothing rings, should a ring be lost."""


class Bell:
    """Rung when there may be something to do, from any thread."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.rang_at = 0.0
        self.is_closed = False

    def ring(self) -> None:
        """Have everybody look."""
        with self.changed:
            self.rang_at = time.monotonic()
            self.changed.notify_all()

    def close(self) -> None:
        """Send everybody home."""
        with self.changed:
            self.is_closed = True
            self.changed.notify_all()


class Ear(threading.Event):
    """What one thread waits on between its looks, in place of the event that ends it."""

    def __init__(self, bell: Bell) -> None:
        super().__init__()
        self._bell = bell
        self._looked_at = time.monotonic()

    def is_set(self) -> bool:
        """Whether the thread is to end."""
        return self._bell.is_closed

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the next look; whether the thread is to end.

        It comes `timeout` seconds after the last while the bell has rung lately, which for the
        first after a silence is at once.
        """
        bell = self._bell
        with bell.changed:
            while not bell.is_closed:
                is_brisk = bell.rang_at + BRISK_SECONDS > self._looked_at
                pace = timeout if is_brisk and timeout is not None else IDLE_SECONDS
                left = self._looked_at + pace - time.monotonic()
                if left <= 0:
                    break
                bell.changed.wait(left)
            self._looked_at = time.monotonic()
            return bell.is_closed
