"""What weights are, to the byte: a SHA-256 over their safetensors files, computed once."""

import hashlib
import threading
from pathlib import Path

import msgspec

from gateway.catalog.cards import AdapterCard, EndpointCard
from gateway.catalog.catalog import Catalog
from gateway.catalog.weights import index_file
from gateway.job import Job

CACHE = "digests.json"
LENGTH = 16
"""Hexadecimal characters of a digest: enough to tell weights apart in a receipt."""


class Digests:
    """Digests by file, remembered in the data folder by path, size and time of change."""

    def __init__(self, data: Path) -> None:
        self._path = data / CACHE
        self._lock = threading.Lock()
        self._models: dict[str, str | None] = {}
        try:
            self._files = msgspec.json.decode(self._path.read_bytes(), type=dict[str, str])
        except (OSError, msgspec.MsgspecError):
            self._files = {}

    def of_job(self, job: Job, catalog: Catalog) -> dict[str, str | None]:
        """The digest of a job's endpoint and of each adapter, by model id.

        None where the weights are not plain files on this disk.
        """
        digests = {job.endpoint: self._of_endpoint(catalog.endpoints[job.endpoint])}
        for use in job.adapters:
            card = catalog.adapters[job.endpoint, use.route]
            digests[card.id] = self._of_adapter(card)
        return digests

    def _of_endpoint(self, card: EndpointCard) -> str | None:
        if card.id not in self._models:
            index = index_file(card)
            files = sorted(index.parent.rglob("*.safetensors")) if index else []
            self._models[card.id] = self._of_files(files)
        return self._models[card.id]

    def _of_adapter(self, card: AdapterCard) -> str | None:
        return self._of_files([card.file]) if card.file else None

    def _of_files(self, files: list[Path]) -> str | None:
        if not files:
            return None
        whole = hashlib.sha256()
        for path in files:
            whole.update(f"{path.parent.name}/{path.name} {self._of_file(path)}\n".encode())
        return whole.hexdigest()[:LENGTH]

    def _of_file(self, path: Path) -> str:
        facts = path.stat()
        key = f"{path.resolve()} {facts.st_size} {facts.st_mtime_ns}"
        with self._lock:
            if key not in self._files:
                with path.open("rb") as file:
                    self._files[key] = hashlib.file_digest(file, "sha256").hexdigest()
                self._path.parent.mkdir(parents=True, exist_ok=True)
                partial = self._path.with_suffix(".partial")
                partial.write_bytes(msgspec.json.encode(self._files))
                partial.replace(self._path)
            return self._files[key]
