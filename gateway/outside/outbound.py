"""Asking URLs that clients name, bounded in everything that the other side decides.

Every connection goes to the very address that the guard has judged, so that a name cannot
resolve differently a moment later, is used for one request, and is cut as soon as its answer
is known or too long, too slow or in too many pieces. Nothing is ever decompressed: answers
are asked for as they are. The environment's proxies are ignored.
"""

import asyncio
import base64
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import NoReturn
from urllib.parse import unquote_to_bytes
from weakref import WeakValueDictionary

import h11
import httpx
import msgspec

from gateway.errors import GatewayError
from gateway.outside.guard import Guard, UrlRefused

AT_ONCE_PER_HOST = 8
"""Of one key; a host that hangs must not keep the key's others waiting."""

AT_ONCE_PER_OWNER = 32
MAX_REDIRECTS = 5
READ_BYTES = 2**14
HEAD_BYTES = 2**16
"""Of an answer before its body: every interim answer, the status, the headers."""

FREE_PIECES = 4096
MIN_PIECE_BYTES = 256
"""On average, beyond the free pieces: thousands of chunks of a byte cost more than a picture."""

PIECES_AT_ONCE = 32
"""Read before others have their turn on the event loop."""

HEARD_BYTES = 4096
HEARD_SECONDS = 1.0
"""Of what follows a webhook's status, so that a receiver can finish its sentence."""

REDIRECTS = (301, 302, 303, 307, 308)
WITH_BODY = (307, 308)


class Message(msgspec.Struct, frozen=True):
    """What is sent: a picture is asked for with GET, a webhook told with POST."""

    method: str = "GET"
    headers: Mapping[str, str] = {}
    body: bytes = b""


class Outbound:
    """Asks for one gateway; each key has its share of what is under way."""

    def __init__(self, guard: Guard) -> None:
        self.guard = guard
        self._tls = httpx.create_ssl_context()
        self._lanes: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def fetch(
        self, url: str, owner: str, *, max_bytes: int, timeout_seconds: float = 30
    ) -> bytes:
        """The body at a URL, following redirects.

        Raises:
            UrlRefused: forbidden, unreachable, too slow, too large, or not answered with a 2xx.
        """
        try:
            async with (
                asyncio.timeout(timeout_seconds),
                self._lane(url, owner),
                self._asked(url, Message()) as answer,
            ):
                if not 200 <= answer.status < 300:
                    raise UrlRefused(f"'{url[:200]}' answered {answer.status}.")
                return await answer.body(max_bytes)
        except TimeoutError:
            raise UrlRefused(f"'{url[:200]}' took over {timeout_seconds:g} s.") from None
        except (OSError, h11.ProtocolError) as error:
            raise UrlRefused(f"'{url[:200]}' could not be fetched: {_why(error)}.") from None

    async def post(
        self, url: str, owner: str, body: bytes, headers: Mapping[str, str], timeout_seconds: float
    ) -> int:
        """Send a body; the status it was answered with. The answer itself is not wanted.

        Raises:
            UrlRefused: forbidden, unreachable, too slow, or redirected without the body.
        """
        message = Message("POST", headers, body)
        try:
            async with (
                self._lane(url, owner),
                asyncio.timeout(timeout_seconds) as limit,
                self._asked(url, message) as answer,
            ):
                limit.reschedule(None)
                with suppress(TimeoutError, OSError, h11.ProtocolError, GatewayError):
                    async with asyncio.timeout(HEARD_SECONDS):
                        await answer.body(HEARD_BYTES)
                return answer.status
        except TimeoutError:
            raise UrlRefused(f"no answer within {timeout_seconds:g} s") from None
        except (OSError, h11.ProtocolError) as error:
            raise UrlRefused(_why(error)) from None

    @asynccontextmanager
    async def _lane(self, url: str, owner: str) -> AsyncIterator[None]:
        """A place among those of a host, and then, not to keep it waiting, of an owner."""
        host = self.guard.check_url(url).host
        async with (
            self._semaphore(f"{owner}\n{host}", AT_ONCE_PER_HOST),
            self._semaphore(owner, AT_ONCE_PER_OWNER),
        ):
            yield

    def _semaphore(self, name: str, width: int) -> asyncio.Semaphore:
        """The one of a name for as long as anybody uses it."""
        return self._lanes.setdefault(name, asyncio.Semaphore(width))

    @asynccontextmanager
    async def _asked(self, url: str, message: Message) -> AsyncIterator["Answer"]:
        """The answer to a message, after the redirects; its connection ends with the block."""
        for _ in range(MAX_REDIRECTS + 1):
            async with self._connected(self.guard.check_url(url), message) as answer:
                if answer.status not in REDIRECTS or not answer.location:
                    yield answer
                    return
                url = _next_url(url, answer.location)
                if message.body and answer.status not in WITH_BODY:
                    # These make a client ask for the new address without the body.
                    raise UrlRefused(
                        f"redirected to {url[:200]} without the body; answer 307 or 308"
                    )
        raise UrlRefused(f"'{url[:200]}' is beyond {MAX_REDIRECTS} redirects.")

    @asynccontextmanager
    async def _connected(self, url: httpx.URL, message: Message) -> AsyncIterator["Answer"]:
        host, is_tls = url.raw_host.decode(), url.scheme == "https"
        port = url.port or (443 if is_tls else 80)
        reader, writer = await asyncio.open_connection(
            await self.guard.resolve(host, port),
            port,
            limit=READ_BYTES,
            ssl=self._tls if is_tls else None,
            server_hostname=host.rstrip(".") if is_tls else None,
        )
        try:
            answer = Answer(reader)
            writer.write(answer.to(url, message))
            await writer.drain()
            await answer.begin()
            yield answer
        finally:
            writer.transport.abort()


class Answer:
    """What comes back on one connection, read as far as it is wanted and no further."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._wire = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES)
        self._num_bytes = 0
        self._num_pieces = 0
        self.status = 0
        self._headers: dict[bytes, bytes] = {}

    @property
    def location(self) -> str:
        """Where a redirect leads."""
        return self._headers.get(b"location", b"").decode("utf-8", "replace")

    def to(self, url: httpx.URL, message: Message) -> bytes:
        """What is to be written to the connection for an answer to a message."""
        headers = {
            "Host": url.netloc.decode(),
            "User-Agent": "image-gateway",
            "Accept": "*/*",
            "Accept-Encoding": "identity",
            "Connection": "close",
            **message.headers,
        }
        if url.userinfo:
            pair = base64.b64encode(unquote_to_bytes(url.userinfo)).decode()
            headers["Authorization"] = f"Basic {pair}"
        if message.body:
            headers["Content-Length"] = str(len(message.body))
        request = h11.Request(
            method=message.method, target=url.raw_path, headers=list(headers.items())
        )
        parts = [self._wire.send(request)]
        if message.body:
            parts.append(self._wire.send(h11.Data(data=message.body)))
        return b"".join(part for part in [*parts, self._wire.send(h11.EndOfMessage())] if part)

    async def begin(self) -> None:
        """Read up to the body."""
        while not self.status:
            event = await self._event(HEAD_BYTES)
            if isinstance(event, h11.Response):
                self.status, self._headers = event.status_code, dict(event.headers)

    async def body(self, max_bytes: int) -> bytes:
        """Read the body.

        Raises:
            UrlRefused: it is larger than that, or compressed although asked not to be.
        """
        encoding = self._headers.get(b"content-encoding", b"identity").decode("latin-1")
        if encoding.lower() != "identity":
            raise UrlRefused(
                f"The answer is encoded as '{encoding[:40]}', which was not asked for."
            )
        if int(self._headers.get(b"content-length", b"0")) > max_bytes:
            _too_large(max_bytes)
        data = bytearray()
        while isinstance(event := await self._event(HEAD_BYTES + 2 * max_bytes), h11.Data):
            data += event.data
            if len(data) > max_bytes:
                _too_large(max_bytes)
            if self._num_pieces > FREE_PIECES + len(data) / MIN_PIECE_BYTES:
                raise UrlRefused("The answer comes in too many pieces.")
        return bytes(data)

    async def _event(self, max_bytes: int) -> object:
        """The next part of the answer, as long as no more than so many bytes have come."""
        while (event := self._wire.next_event()) is h11.NEED_DATA:
            data = await self._reader.read(READ_BYTES)
            self._num_bytes += len(data)
            if self._num_bytes > max_bytes:
                _too_large(max_bytes)
            if not data and not self.status:
                raise ConnectionError("the connection was closed without an answer")
            self._wire.receive_data(data)
        self._num_pieces += 1
        if self._num_pieces % PIECES_AT_ONCE == 0:
            await asyncio.sleep(0)
        return event


def _next_url(url: str, location: str) -> str:
    try:
        return str(httpx.URL(url).join(location))
    except (httpx.InvalidURL, UnicodeError, ValueError):
        raise UrlRefused(f"{location[:200]!r}, which it is redirected to, is no URL.") from None


def _too_large(max_bytes: int) -> NoReturn:
    raise UrlRefused(f"The answer is larger than {max_bytes} bytes.")


def _why(error: Exception) -> str:
    return str(error) or type(error).__name__
