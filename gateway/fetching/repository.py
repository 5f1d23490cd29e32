"""A repository of the hub: what it lists, and a file of it on this disk, whole and verified.

huggingface_hub does all of it but one thing: it begins a file anew in each process. So large
files are put into its cache by its own `http_get`, which goes on where one stopped, and it
finds them there.
"""

import hashlib
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from huggingface_hub import (
    HfApi,
    constants,
    get_hf_file_metadata,
    get_token,
    hf_hub_download,
    hf_hub_url,
)
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.file_download import http_get, repo_folder_name
from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]  # it is

from gateway.catalog.cards import CardError
from gateway.catalog.hub import OF_TRANSPORT, PATIENCE_SECONDS
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


class Repository:
    """One repository at one commit.

    Raises one of `FAULTS` where the hub does not answer, or not with it.
    """

    def __init__(self, source: str, revision: str | None = None) -> None:
        self.source = source
        self._revision = HfApi().resolve_revision(source, revision=revision)
        told = HfApi().model_info(
            source, revision=self._revision.resolved, files_metadata=True, timeout=PATIENCE_SECONDS
        )
        self.listed = [
            Listed(file.rfilename, file.size or 0, file.lfs.sha256 if file.lfs else None)
            for file in told.siblings or ()
        ]

    def is_here(self, file: Listed) -> bool:
        """Whether a file of this commit is in the cache."""
        return (self._folder / "snapshots" / self._revision.resolved / file.name).exists()

    def bytes_to_come(self, file: Listed) -> int:
        """How much of a file is to be downloaded: nothing of one that another commit has, too."""
        is_kept = file.sha256 is not None and self._blob(file.sha256).exists()
        return 0 if is_kept else file.size_bytes

    def file(self, file: Listed, at: At) -> Path:
        """A file on this disk.

        Raises:
            CardError: what comes is not what was announced.
        """
        if file.sha256 is not None and file.size_bytes <= constants.MAX_HTTP_DOWNLOAD_SIZE:
            self._place(file, at)
        found = hf_hub_download(
            self.source,
            file.name,
            revision=self._revision,
            tqdm_class=_meter(at),
        )
        at(file.size_bytes)
        return Path(found)

    @property
    def _folder(self) -> Path:
        name = repo_folder_name(repo_id=self.source, repo_type="model")
        return Path(constants.HF_HUB_CACHE) / name

    def _blob(self, etag: str) -> Path:
        return self._folder / "blobs" / etag

    def _place(self, file: Listed, at: At) -> None:
        """Have a large file in the hub's cache under the name that it looks for."""
        commit = self._revision.resolved
        url = hf_hub_url(self.source, file.name, revision=commit)
        etag = get_hf_file_metadata(url, retry_on_errors=True).etag
        if etag is None:
            return
        blob = self._blob(etag)
        lock = Path(constants.HF_HUB_CACHE) / ".locks" / self._folder.name / f"{etag}.lock"
        for place in (blob, lock):
            place.parent.mkdir(parents=True, exist_ok=True)
        with WeakFileLock(lock):
            if not blob.exists():
                part = blob.with_name(f"{etag}.part")
                _download(url, part, file, at)
                part.replace(blob)


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


def _meter(at: At) -> Any:
    return partial(Meter, at)


def _download(url: str, part: Path, file: Listed, at: At) -> None:
    """Download a file, going on where `part` ends.

    Raises:
        CardError: what comes is not what was announced.
    """
    for _ in range(NUM_COPIES):
        fault = _one_copy(url, part, file, at)
        if fault is None:
            return
        part.unlink(missing_ok=True)
    raise CardError(f"{file.name}: {fault}")


def _one_copy(url: str, part: Path, file: Listed, at: At) -> str | None:
    """Download to the end; what is wrong with what came, if anything."""
    if _size(part) > file.size_bytes:
        part.unlink()
    tries = NUM_TRIES
    while _size(part) < file.size_bytes:
        before = _size(part)
        try:
            _go_on(url, part, file, at)
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


def _go_on(url: str, part: Path, file: Listed, at: At) -> None:
    """Have more of a file; how much is seen by its size."""
    with part.open("ab") as kept:
        try:
            http_get(
                url, kept, resume_size=_size(part), expected_size=file.size_bytes,
                headers={"authorization": f"Bearer {token}"} if (token := get_token()) else {},
                tqdm_class=_meter(at),
            )  # fmt: skip
        except OF_TRANSPORT:
            raise
        except OSError as error:
            if "Consistency check failed" not in str(error):  # a disk that is full, perhaps
                raise


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0
