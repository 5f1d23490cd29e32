"""Bytes that outlive a request: runs' pictures and uploaded files, with URLs that say so.

They lie in the store of all pictures, under keys of their own, which no sweep of expired
URLs touches.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import IO

from gateway.images.objects import Objects, Stored
from gateway.images.signing import Signer
from gateway.settings import Settings

PREFIX = "/kept/"
PIECE_BYTES = 2**20


class FileStore:
    """Keyed bytes. A key's signature is what lets its URL be read or written."""

    def __init__(
        self, settings: Settings, objects: Objects | None = None, signer: Signer | None = None
    ) -> None:
        self._objects = objects or Objects(settings)
        self._signer = signer or Signer.of_folder(settings.data)

    async def put(self, key: str, data: bytes | AsyncIterator[bytes]) -> None:
        """Keep bytes, or all that come; the same key again replaces them."""
        await self._objects.put(key, data)

    async def put_file(self, key: str, source: IO[bytes]) -> None:
        """Keep all of a file, of which only pieces are in memory."""
        await self.put(key, _pieces(source))

    async def get(self, key: str) -> bytes | None:
        """The bytes of a key, or None."""
        return await self._objects.get(key)

    async def open(self, key: str, span: tuple[int, int] | None = None) -> Stored | None:
        """The bytes of a key, or a span of them, to be read piece by piece, or None."""
        return await self._objects.open(key, span)

    async def delete(self, folder: str) -> None:
        """Delete every key under a folder."""
        await self._objects.delete(await self._objects.keys(folder))

    async def delete_one(self, key: str) -> None:
        """Delete a key; one that is not there is gone already."""
        await self._objects.delete([key])

    def sign(self, purpose: str, key: str) -> str:
        """The signature that lets its holder do something with a key."""
        return self._signer.sign(_text(purpose, key))

    def is_signed(self, purpose: str, key: str, signature: str) -> bool:
        """Whether a signature was given out here."""
        return self._signer.is_signed(_text(purpose, key), signature)

    def path_of(self, key: str, purpose: str = "read") -> str:
        """Path and query of the URL that a key is read at, or written to."""
        return f"{PREFIX}{key}?sig={self.sign(purpose, key)}"


def _text(purpose: str, key: str) -> str:
    return f"{purpose}\n{key}"


async def _pieces(source: IO[bytes]) -> AsyncIterator[bytes]:
    await asyncio.to_thread(source.seek, 0)
    while piece := await asyncio.to_thread(source.read, PIECE_BYTES):
        yield piece
