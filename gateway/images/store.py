"""Pictures at rest, in a folder or a bucket, and the signed URLs that lead to them."""

import hashlib
import hmac
import os
import secrets
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gateway.images.encode import CONTENT_TYPES, Format
from gateway.images.objects import Objects, Stored
from gateway.settings import Settings
from gateway.telemetry import traces

PREFIX = "/files/"
SECRET_FILE = "url-secret"
SUFFIXES: dict[str, Format] = {".png": "png", ".jpg": "jpeg", ".webp": "webp"}


class PictureStore:
    """Pictures by unguessable name, kept for `settings.url_minutes`."""

    def __init__(self, settings: Settings, objects: Objects | None = None) -> None:
        self._objects = objects or Objects(settings)
        self._secret = read_secret(settings.data / SECRET_FILE)
        self._lifetime_seconds = settings.url_minutes * 60

    async def put(self, data: bytes, format: Format) -> str:
        """Keep a picture and return its name.

        Raises:
            NotStored: it is not kept.
        """
        suffix = next(suffix for suffix, kind in SUFFIXES.items() if kind == format)
        name = secrets.token_hex(16) + suffix
        with traces.span("store", bytes=len(data)):
            await self._objects.put(_key(name), data)
        return name

    async def open(self, name: str) -> Stored | None:
        """A picture to be read piece by piece, or None where there is none of that name.

        Raises:
            StoreUnavailable: nobody knows.
        """
        return await self._objects.open(_key(name))

    def url_path(self, name: str) -> str:
        """Path and query of the signed URL of a picture; the path ends in a plain file name."""
        expires = int(time.time() + self._lifetime_seconds)
        return f"{PREFIX}{name}?expires={expires}&signature={self._signature(name, expires)}"

    def is_signed(self, name: str, expires: int, signature: str) -> bool:
        """Whether a URL was given out by this gateway, expired or not."""
        return hmac.compare_digest(self._signature(name, expires).encode(), signature.encode())

    async def sweep(self, now: datetime | None = None) -> int:
        """Delete pictures whose URLs have all expired, and count them."""
        before = (now or datetime.now(UTC)) - timedelta(seconds=self._lifetime_seconds)
        old = await self._objects.keys(_key(""), before)
        await self._objects.delete(old)
        return len(old)

    def _signature(self, name: str, expires: int) -> str:
        text = f"{name}\n{expires}".encode()
        return hmac.new(self._secret, text, hashlib.sha256).hexdigest()[:32]


def content_type(name: str) -> str | None:
    """The content type of a picture's name, or None for a name that no picture has."""
    kind = SUFFIXES.get(Path(name).suffix)
    return CONTENT_TYPES[kind] if kind else None


def read_secret(path: Path) -> bytes:
    """The key that signs URLs; made on first use and readable by its owner alone."""
    if path.exists():
        return path.read_bytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_hex(32))
    with suppress(FileExistsError):
        os.link(partial, path)  # whole or not at all, and never over another process's
    partial.unlink()
    return path.read_bytes()


def _key(name: str) -> str:
    return f"urls/{name}"
