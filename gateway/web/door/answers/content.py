"""What is answered: JSON whose pictures become base64 while it is sent, and pictures' bytes.

The base64 of ten large pictures takes half a second: it is made a piece at a time, in turns
with everybody else's work, and no faster than the client takes it.
"""

import asyncio
import secrets
from base64 import b64encode
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

import msgspec
from litestar.response import Response, Stream

PIECE_BYTES = 3 * 2**17
"""Of a picture; of base64 it is half a MiB, made in a millisecond."""

GAP = secrets.token_hex(16)
"""Stands in a Struct where a picture's base64 will be; nobody outside learns it."""


class Content(msgspec.Struct, frozen=True):
    """Texts with a picture in base64 between each two of them."""

    texts: tuple[bytes, ...]
    pictures: tuple[bytes, ...] = ()

    @classmethod
    def of(
        cls, answer: msgspec.Struct | dict[str, Any], pictures: Iterable[bytes] = ()
    ) -> "Content":
        """An answer as JSON, its gaps filled in their order."""
        texts = msgspec.json.encode(answer).split(GAP.encode())
        found = cls(tuple(texts), tuple(pictures))
        assert len(found.texts) == len(found.pictures) + 1
        return found

    @property
    def size_bytes(self) -> int:
        """How long it is on the wire."""
        base64 = sum((len(picture) + 2) // 3 * 4 for picture in self.pictures)
        return base64 + sum(map(len, self.texts))

    @property
    def is_small(self) -> bool:
        """Whether it is a piece by itself."""
        return self.size_bytes <= PIECE_BYTES

    def response(self, headers: dict[str, str]) -> Response[bytes] | Stream:
        """A 200 with these headers; JSON unless they say otherwise."""
        media_type = headers.pop("content-type", "application/json")
        if self.is_small:
            whole = b"".join(self._pieces())
            return Response(whole, status_code=200, headers=headers, media_type=media_type)
        headers = headers | {"content-length": str(self.size_bytes)}
        return Stream(self.sent(), status_code=200, headers=headers, media_type=media_type)

    async def sent(self) -> AsyncIterator[bytes]:
        """All of it, with turns for others in between."""
        pieces = [b"".join(self._pieces())] if self.is_small else self._pieces()
        for piece in pieces:
            yield piece
            await asyncio.sleep(0)

    def _pieces(self) -> Iterator[bytes]:
        pictures = (map(b64encode, _cut(picture)) for picture in self.pictures)
        yield from _cut(self.texts[0])
        for picture, text in zip(pictures, self.texts[1:], strict=True):
            yield from picture
            yield from _cut(text)


def _cut(data: bytes) -> Iterator[bytes]:
    """Bytes in pieces, each but the last a multiple of three long."""
    if len(data) <= PIECE_BYTES:
        yield data
        return
    for start in range(0, len(data), PIECE_BYTES):
        yield data[start : start + PIECE_BYTES]
