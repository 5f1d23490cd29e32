"""One large file, whole and verified: what was begun goes on where it stopped."""

import hashlib
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from huggingface_hub import get_session, hf_raise_for_status
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.file_download import http_get

from gateway.catalog.cards import CardError
from gateway.catalog.sources.hub import OF_TRANSPORT, PATIENCE_SECONDS
from gateway.fetching.choice import Listed

NUM_TRIES = 5
"""Without a byte that is new, before a download is given up; the next one goes on from there."""

NUM_COPIES = 2
"""Whole files that turn out to be others than were announced, before one is given up."""

PAUSE_SECONDS = 1.0
SERVER_FAULT = 500
NO_SUCH_RANGE = 416
"""The file is shorter than it was said to be."""

At = Callable[[int], None]
"""Told how many bytes of a file are here."""


class Origin(NamedTuple):
    """Where a file is asked for, and as whom."""

    url: str
    headers: Mapping[str, str]


class Meter:
    """What the hub's client takes for a bar: tells how many bytes of one file are here."""

    def __init__(self, at: At, *_args: Any, initial: int = 0, **_more: Any) -> None:
        self._at = at
        self._done = initial

    def __enter__(self) -> "Meter":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, num_bytes: float | None = 1) -> None:
        """So many more, or fewer."""
        self._done += int(num_bytes or 0)
        self._at(self._done)

    def close(self) -> None:
        """The file is here, or given up."""

    def set_postfix_str(self, *_args: Any, **_more: Any) -> None:
        """A bar would show a rate."""


def meter(at: At) -> Any:
    """What makes such bars."""
    return partial(Meter, at)


def first_bytes(origin: Origin, num_bytes: int) -> bytes:
    """How a file begins; no more of it is read, however much is sent."""
    asked, found = {**origin.headers, "range": f"bytes=0-{num_bytes - 1}"}, b""
    with get_session().stream(
        "GET", origin.url, headers=asked, timeout=PATIENCE_SECONDS
    ) as answer:
        hf_raise_for_status(answer)
        for piece in answer.iter_bytes():
            found += piece
            if len(found) >= num_bytes:
                break
    return found[:num_bytes]


def download(origin: Origin, part: Path, file: Listed, at: At) -> None:
    """Download a file, going on where `part` ends.

    Raises:
        CardError: what comes is not what was announced.
    """
    for _ in range(NUM_COPIES):
        fault = _one_copy(origin, part, file, at)
        if fault is None:
            return
        part.unlink(missing_ok=True)
    raise CardError(f"{file.name}: {fault}")


def _one_copy(origin: Origin, part: Path, file: Listed, at: At) -> str | None:
    """Download to the end; what is wrong with what came, if anything."""
    if _size(part) > file.size_bytes:
        part.unlink()
    tries = NUM_TRIES
    while _size(part) < file.size_bytes:
        before = _size(part)
        try:
            _go_on(origin, part, file, at)
        except OF_TRANSPORT as error:
            status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
            if status == NO_SUCH_RANGE:
                break
            is_refused = status is not None and status < SERVER_FAULT
            if is_refused or (tries == 1 and _size(part) == before):
                raise
        if _size(part) > before:
            tries = NUM_TRIES
        elif (tries := tries - 1) == 0:
            break
        else:
            time.sleep(PAUSE_SECONDS)
    if (size := _size(part)) != file.size_bytes:
        return f"{file.size_bytes:,} bytes were announced, and {size:,} came"
    with part.open("rb") as kept:
        came = hashlib.file_digest(kept, "sha256").hexdigest()
    return None if came == file.sha256 else f"its SHA-256 is {came}, not {file.sha256} as announced"


def _go_on(origin: Origin, part: Path, file: Listed, at: At) -> None:
    """Have more of a file; how much is seen by its size."""
    with part.open("ab") as kept:
        try:
            http_get(
                origin.url, kept, resume_size=_size(part), expected_size=file.size_bytes,
                headers=dict(origin.headers), tqdm_class=meter(at),
            )  # fmt: skip
        except OF_TRANSPORT:
            raise
        except OSError as error:
            if "Consistency check failed" not in str(error):  # a disk that is full, perhaps
                raise


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0
