"""Pictures at rest, in a folder or a bucket, and the signed URLs that lead to them."""

import secrets
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gateway.images.encode import CONTENT_TYPES, Format
from gateway.images.objects import Objects, Stored
from gateway.images.signing import Signer
from gateway.settings import Settings
from gateway.telemetry import traces

PREFIX = "/files/"
SUFFIXES: dict[str, Format] = {".png": "png", ".jpg": "jpeg", ".webp": "webp"}


class PictureStore:
    """Pictures by unguessable name, kept for `settings.url_minutes`."""

    def __init__(
        self, settings: Settings, objects: Objects | None = None, signer: Signer | None = None
    ) -> None:
        self._objects = objects or Objects(settings)
        self._signer = signer or Signer.of_folder(settings.data)
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
        signature = self._signer.sign(_text(name, expires))
        return f"{PREFIX}{name}?expires={expires}&signature={signature}"

    def is_signed(self, name: str, expires: int, signature: str) -> bool:
        """Whether a URL was given out by this gateway, expired or not."""
        return self._signer.is_signed(_text(name, expires), signature)

    async def sweep(self, now: datetime | None = None) -> int:
        """Delete pictures whose URLs have all expired, and count them."""
        before = (now or datetime.now(UTC)) - timedelta(seconds=self._lifetime_seconds)
        old = await self._objects.keys(_key(""), before)
        await self._objects.delete(old)
        return len(old)


def content_type(name: str) -> str | None:
    """The content type of a picture's name, or None for a name that no picture has."""
    kind = SUFFIXES.get(Path(name).suffix)
    return CONTENT_TYPES[kind] if kind else None


def _key(name: str) -> str:
    return f"urls/{name}"


def _text(name: str, expires: int) -> str:
    """What is signed of a URL."""
    return f"{name}\n{expires}"
