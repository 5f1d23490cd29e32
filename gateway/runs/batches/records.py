"""A batch of requests, and the files that it is read from and answered in."""

from typing import Any, Literal

import msgspec

Status = Literal[
    "validating",
    "failed",
    "in_progress",
    "finalizing",
    "completed",
    "expired",
    "cancelling",
    "cancelled",
]
ENDED: tuple[Status, ...] = ("failed", "completed", "expired", "cancelled")
FILE_PREFIX = "file-"


class KeptFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of the Files API; times are seconds since the epoch."""

    id: str
    owner: str
    name: str
    purpose: str
    size_bytes: int
    created_at: float
    expires_at: float | None = None

    @property
    def key(self) -> str:
        """Where the store keeps it."""
        return f"batches/files/{self.id}"


class Line(msgspec.Struct, frozen=True, kw_only=True, rename={"id": "custom_id"}):
    """One request of a batch."""

    id: str
    method: Literal["POST"]
    url: str
    body: dict[str, Any]


class Fault(msgspec.Struct, frozen=True):
    """What is wrong with an input file; `line` counts from 1, None means the whole file."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


class Spent(msgspec.Struct, frozen=True):
    """What answers took: tokens that were read, and made."""

    read: int = 0
    made: int = 0


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """Requests that are answered when the devices have nothing more urgent to do.

    `base_url` begins the URLs of its pictures: its lines come with no address of their own.
    `model` is the one that all of them name; what they are answered is kept for `kept_seconds`.
    `trace` is the one that its lines and webhooks belong to.
    """

    id: str
    owner: str
    endpoint: str
    input_file_id: str
    created_at: float
    expires_at: float
    base_url: str
    completion_window: str = "24h"
    status: Status = "validating"
    num_lines: int = 0
    num_completed: int = 0
    num_failed: int = 0
    in_progress_at: float | None = None
    finalizing_at: float | None = None
    completed_at: float | None = None
    failed_at: float | None = None
    expired_at: float | None = None
    cancelling_at: float | None = None
    cancelled_at: float | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    faults: tuple[Fault, ...] = ()
    metadata: dict[str, str] | None = None
    model: str | None = None
    kept_seconds: float | None = None
    spent: Spent = Spent()
    trace: str = ""

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.status in ENDED

    @property
    def folder(self) -> str:
        """What the store keeps for it until it ends."""
        return f"batches/{self.id}/"

    @property
    def input_key(self) -> str:
        """Where the store keeps its requests, should their file be deleted before its end."""
        return f"{self.folder}input.jsonl"

    def answer_key(self, number: int, *, failed: bool) -> str:
        """Where the store keeps the answer to a line until the batch ends."""
        return f"{self.folder}{'failed' if failed else 'completed'}/{number:06d}"

    def line_subject(self, number: int | Literal[""]) -> str:
        """What a line is claimed by; without a number, how those of all lines begin."""
        return f"{self.id}/{number}"


class Answer(msgspec.Struct, frozen=True):
    """What a request of a batch was answered: `body` is JSON, in the pieces that it came in."""

    status: int
    request_id: str
    body: tuple[bytes, ...]
    retry_after_seconds: float | None = None
    spent: Spent = Spent()
