"""What weights are, to the byte: a SHA-256 over their files, computed once."""

import hashlib
import secrets
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
import structlog

from gateway.catalog.heads.stamps import Stamp, stamp_of, wait_for_tick

CACHE = "digests.json"
LENGTH = 16
"""Hexadecimal characters of a digest: enough to tell weights apart in a receipt."""

log = structlog.get_logger()


class Digests:
    """Digests of files, remembered in the data folder while a file's stamp stays the same."""

    def __init__(self, data: Path) -> None:
        self._path = data / CACHE
        self._lock = threading.Lock()
        try:
            kept = self._path.read_bytes()
            self._files = msgspec.json.decode(kept, type=dict[str, tuple[Stamp, str]])
        except (OSError, msgspec.MsgspecError):
            self._files = {}

    def of(self, files: Sequence[Path]) -> str | None:
        """The digest of weights in some files; None for none.

        One file's is its own SHA-256; that of several is over their names and theirs.

        Raises:
            OSError: a file is not there.
        """
        if not files:
            return None
        if len(files) == 1:
            return self._of_file(files[0])[:LENGTH]
        whole = hashlib.sha256()
        for path in files:
            whole.update(f"{path.parent.name}/{path.name} {self._of_file(path)}\n".encode())
        return whole.hexdigest()[:LENGTH]

    def _of_file(self, path: Path) -> str:
        key, stamp = str(path.resolve()), stamp_of(path)
        known, digest = self._files.get(key, (None, ""))
        if stamp is not None and known == stamp:
            return digest
        wait_for_tick([stamp])
        with path.open("rb") as file:  # minutes, in which others are read
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if stamp is not None and stamp == stamp_of(path):
            with self._lock:
                self._files[key] = (stamp, digest)
                self._keep()
        return digest

    def _keep(self) -> None:
        """Remember them, where that can be done: the digests are right without."""
        # Another process may keep its own in the same folder at the same time.
        partial = self._path.with_name(f"{CACHE}.{secrets.token_hex(4)}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(msgspec.json.encode(self._files))
            partial.replace(self._path)
        except OSError as error:
            log.warning("digests are not remembered", fault=error.strerror)
            with suppress(OSError):
                partial.unlink()
