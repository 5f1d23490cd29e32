"""Bodies that come packed (`Content-Encoding`), unpacked a piece at a time."""

import asyncio
import zlib

from litestar.types import HTTPRequestEvent, Receive, ReceiveMessage

from gateway.errors import InvalidRequest, UnsupportedEncoding

PIECE_BYTES = 2**18
"""At most this much is unpacked at once: how much there is in all, the router bounds."""

MAX_STREAMS = 500
"""In one body; each is begun anew, whether there is anything in it or not."""

TAKEN = ("x-gzip", *UnsupportedEncoding.taken)
_GZIP_OR_ZLIB = zlib.MAX_WBITS + 32
_BARE_DEFLATE = -zlib.MAX_WBITS


def unpacked(receive: Receive, encoding: str) -> Receive:
    """The same body, unpacked.

    Reading it raises:
        UnsupportedEncoding: it is packed in a way that is not taken.
        InvalidRequest: it is not what its encoding says.
    """
    names = [name.strip().lower() for name in encoding.split(",")]
    names = [name for name in names if name not in ("", "identity")]
    if not names:
        return receive
    unpacker = Unpacker() if len(names) == 1 and names[0] in TAKEN else None

    async def receiving() -> ReceiveMessage:
        if unpacker is None:
            raise UnsupportedEncoding(
                f"Unsupported content encoding: '{encoding[:100]}'. Bodies may be packed once, "
                f"with {' or '.join(UnsupportedEncoding.taken)}."
            )
        while not unpacker.is_over:
            if piece := unpacker.take():
                await asyncio.sleep(0)  # there may be hundreds in one packet
                return HTTPRequestEvent(type="http.request", body=piece, more_body=True)
            if unpacker.has_all:
                unpacker.finish()
                return HTTPRequestEvent(type="http.request", body=b"", more_body=False)
            message = await receive()
            if message["type"] != "http.request":
                return message
            unpacker.give(message.get("body", b""), more=message.get("more_body", False))
        return await receive()

    return receiving


class Unpacker:
    """Packed bytes in, plain bytes out; several packed streams may follow each other."""

    def __init__(self) -> None:
        self.has_all = False
        self.is_over = False
        self._packed = b""
        self._stream = zlib.decompressobj(_GZIP_OR_ZLIB)
        self._has_begun = False
        self._num_streams = 1

    def give(self, packed: bytes, *, more: bool) -> None:
        """Add packed bytes."""
        self._packed += packed
        self.has_all = not more

    def take(self) -> bytes:
        """The next plain bytes; none where more packed ones are needed.

        Raises:
            InvalidRequest: the bytes are not packed.
        """
        while self._packed:
            try:
                piece = self._next()
            except zlib.error as error:
                raise _broken(str(error)) from None
            if piece:
                return piece
        return b""

    def finish(self) -> None:
        """End where all is taken.

        Raises:
            InvalidRequest: the packed bytes end too early.
        """
        if self._has_begun and not self._stream.eof:
            raise _broken("it ends too early")
        self.is_over = True

    def _next(self) -> bytes:
        if self._stream.eof:
            self._stream, self._has_begun = zlib.decompressobj(_GZIP_OR_ZLIB), False
            self._num_streams += 1
            if self._num_streams > MAX_STREAMS:
                raise _broken(f"it has over {MAX_STREAMS} packed streams")
        try:
            piece = self._stream.decompress(self._packed, PIECE_BYTES)
        except zlib.error:
            if self._has_begun:
                raise
            # `deflate` is zlib's format by the standard, and without its frame from some clients.
            self._stream = zlib.decompressobj(_BARE_DEFLATE)
            piece = self._stream.decompress(self._packed, PIECE_BYTES)
        self._has_begun = True
        self._packed = self._stream.unused_data or self._stream.unconsumed_tail
        return piece


def _broken(why: str) -> InvalidRequest:
    return InvalidRequest(f"The body is not what its Content-Encoding says: {why}.")
