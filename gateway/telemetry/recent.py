"""The latest requests, kept in memory for the operator's page."""

from collections import deque
from typing import Any

import msgspec
from litestar.types import HTTPScope

NUM_KEPT = 50
LOOKING = ("GET", "HEAD", "OPTIONS")


class RequestSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One answered request; prompts and keys are not kept.

    `began` is in seconds since the epoch; `model`, `n` and `num_inference_steps` are
    absent where the request was refused before they were known; so is `key`, the id of the
    one asked with.
    """

    began: float
    seconds: float
    method: str
    path: str
    status: int
    model: str | None = None
    n: int | None = None
    num_inference_steps: int | None = None
    key: str | None = None


class RecentRequests:
    """The latest requests that asked for work, newest first."""

    def __init__(self) -> None:
        self._kept: deque[RequestSummary] = deque(maxlen=NUM_KEPT)

    def add(self, scope: HTTPScope, status: int, began: float, seconds: float) -> None:
        """Keep an answered request, unless it only looked at something."""
        if scope["method"] in LOOKING:
            return
        facts: dict[str, Any] = scope.get("state", {}).get("facts", {})
        summary = RequestSummary(
            began=began,
            seconds=seconds,
            method=scope["method"],
            path=scope["path"],
            status=status,
            model=facts.get("model"),
            n=facts.get("n"),
            num_inference_steps=facts.get("steps"),
            key=facts.get("key"),
        )
        self._kept.appendleft(summary)

    def latest(self) -> list[RequestSummary]:
        """What is kept, newest first."""
        return list(self._kept)

    def of_key(self, key_id: str) -> list[RequestSummary]:
        """What is kept of one key's requests, newest first."""
        return [summary for summary in self._kept if summary.key == key_id]
