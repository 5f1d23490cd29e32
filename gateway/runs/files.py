"""Bytes that outlive a request: runs' pictures and uploaded files, with URLs that say so."""

import hashlib
import hmac
import os
import secrets
from pathlib import Path

import obstore
from obstore.store import LocalStore, ObjectStore, from_url

SECRET_BYTES = 32


class FileStore:
    """A folder or bucket of keyed bytes. A key's signature is what lets a URL be read."""

    def __init__(self, location: str, data: Path) -> None:
        self._store = _open(location)
        self._secret = _secret(data / "files.key")

    async def put(self, key: str, data: bytes) -> None:
        """Keep bytes; the same key again replaces them."""
        await obstore.put_async(self._store, key, data)

    async def get(self, key: str) -> bytes | None:
        """The bytes of a key, or None."""
        try:
            found = await obstore.get_async(self._store, key)
        except FileNotFoundError:
            return None
        return bytes(await found.bytes_async())

    async def delete(self, folder: str) -> None:
        """Delete every key under a folder."""
        async for batch in obstore.list(self._store, prefix=folder):
            await obstore.delete_async(self._store, [entry["path"] for entry in batch])

    def sign(self, purpose: str, key: str) -> str:
        """The signature that lets its holder do something with a key."""
        digest = hmac.new(self._secret, f"{purpose}:{key}".encode(), hashlib.sha256)
        return digest.hexdigest()[:40]

    def is_signed(self, purpose: str, key: str, signature: str) -> bool:
        """Whether a signature was given out here."""
        return hmac.compare_digest(self.sign(purpose, key), signature)

    def path_of(self, key: str) -> str:
        """Path and query of the URL that a key is read at."""
        return f"/files/{key}?sig={self.sign('read', key)}"


def _open(location: str) -> ObjectStore:
    if "://" in location:
        return from_url(location)
    folder = Path(location)
    folder.mkdir(parents=True, exist_ok=True)
    return LocalStore(folder)


def _secret(path: Path) -> bytes:
    """The secret of this data folder, made on first use and readable by its owner alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_bytes()
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_bytes(SECRET_BYTES))
    return path.read_bytes()
