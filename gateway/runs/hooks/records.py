"""A webhook endpoint that a key has set up, and what it is told: that a batch has ended."""

from typing import Literal

import msgspec

BatchNews = Literal["batch.completed", "batch.failed", "batch.expired", "batch.cancelled"]
EVENT_PREFIX = "evt_"
HOOK_PREFIX = "whe_"


class Hook(msgspec.Struct, frozen=True, kw_only=True):
    """Where a key's news go; times are seconds since the epoch.

    The `old_secret` signs beside the new one until `old_until`.
    """

    id: str
    owner: str
    name: str
    url: str
    event_types: tuple[BatchNews, ...]
    secret: str
    created_at: float
    updated_at: float
    old_secret: str | None = None
    old_until: float = 0.0

    def secrets(self, now: float) -> tuple[str, ...]:
        """Those that sign at a time, the newest first."""
        if self.old_secret is None or now >= self.old_until:
            return (self.secret,)
        return (self.secret, self.old_secret)


class BatchEvent(msgspec.Struct, frozen=True, kw_only=True):
    """That a batch has ended, for one endpoint; each goes its own way, in no order."""

    id: str
    batch_id: str
    hook_id: str
    kind: BatchNews
    at: float
    trace: str = ""

    @property
    def subject(self) -> str:
        """What it is about."""
        return self.batch_id

    @property
    def sequence(self) -> int:
        """None before or after another."""
        return 0
