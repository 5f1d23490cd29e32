"""Bytes that outlive a request: runs' pictures and uploaded files, with URLs that say so.

They lie in the store of all pictures, under keys of their own, which no sweep of expired
URLs touches.
"""

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import IO, Any

import msgspec
import obstore

from gateway.images.store import SECRET_FILE, open_store, read_secret
from gateway.settings import Settings

PREFIX = "/kept/"
PIECE_BYTES = 2**20


class Stored(msgspec.Struct, frozen=True):
    """Bytes that are read once: how many there are, the first of them, and the others."""

    size_bytes: int
    beginning: bytes
    rest: Any

    async def pieces(self) -> AsyncIterator[bytes]:
        """All of them."""
        yield self.beginning
        async for piece in self.rest:
            yield bytes(piece)


class FileStore:
    """Keyed bytes. A key's signature is what lets its URL be read or written."""

    def __init__(self, settings: Settings) -> None:
        self._store = open_store(settings.store_location)
        self._secret = read_secret(settings.data / SECRET_FILE)

    async def put(self, key: str, data: bytes | AsyncIterator[bytes]) -> None:
        """Keep bytes, or all that come; the same key again replaces them."""
        await obstore.put_async(self._store, key, data)

    async def put_file(self, key: str, source: IO[bytes]) -> None:
        """Keep all of a file, of which only pieces are in memory."""
        await self.put(key, _pieces(source))

    async def get(self, key: str) -> bytes | None:
        """The bytes of a key, or None."""
        try:
            found = await obstore.get_async(self._store, key)
        except FileNotFoundError:
            return None
        return bytes(await found.bytes_async())

    async def open(self, key: str) -> "Stored | None":
        """The bytes of a key to be read piece by piece, or None."""
        try:
            found = await obstore.get_async(self._store, key)
        except FileNotFoundError:
            return None
        rest = aiter(found.stream())
        return Stored(found.meta["size"], bytes(await anext(rest, b"")), rest)

    async def delete(self, folder: str) -> None:
        """Delete every key under a folder."""
        async for page in obstore.list(self._store, prefix=folder):
            await obstore.delete_async(self._store, [entry["path"] for entry in page])

    async def delete_one(self, key: str) -> None:
        """Delete a key; one that is not there is gone already."""
        with suppress(FileNotFoundError):
            await obstore.delete_async(self._store, key)

    def sign(self, purpose: str, key: str) -> str:
        """The signature that lets its holder do something with a key."""
        text = f"{purpose}\n{key}".encode()
        return hmac.new(self._secret, text, hashlib.sha256).hexdigest()[:32]

    def is_signed(self, purpose: str, key: str, signature: str) -> bool:
        """Whether a signature was given out here."""
        return hmac.compare_digest(self.sign(purpose, key).encode(), signature.encode())

    def path_of(self, key: str, purpose: str = "read") -> str:
        """Path and query of the URL that a key is read at, or written to."""
        return f"{PREFIX}{key}?sig={self.sign(purpose, key)}"


async def _pieces(source: IO[bytes]) -> AsyncIterator[bytes]:
    await asyncio.to_thread(source.seek, 0)
    while piece := await asyncio.to_thread(source.read, PIECE_BYTES):
        yield piece
