"""Requests as bytes, put to an application in this process or to a server over a socket.

No client library stands between: what it would refuse to send is what is wanted here.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

import h11
import msgspec

Headers = tuple[tuple[bytes, bytes], ...]
PATIENCE_SECONDS = 30.0


class Sent(msgspec.Struct, frozen=True):
    """One request; `target` is path and query as they stand in the request line."""

    method: str
    target: bytes
    headers: Headers = ()
    body: bytes = b""

    @property
    def path(self) -> bytes:
        """The target without its query."""
        return self.target.partition(b"?")[0]


class Answered(msgspec.Struct, frozen=True):
    """What came back; `fault` says why it is no answer at all."""

    status: int = 0
    headers: Headers = ()
    body: bytes = b""
    fault: str = ""

    def header(self, name: bytes) -> bytes:
        """A header's value, or nothing."""
        return next((value for key, value in self.headers if key.lower() == name), b"")


Ask = Callable[[Sent], Awaitable[Answered]]


def inside(app: Any) -> Ask:
    """Ask an application in this process."""

    async def ask(sent: Sent) -> Answered:
        path, _, query = sent.target.partition(b"?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": sent.method,
            "scheme": "http",
            "path": unquote_to_bytes(path).decode("utf-8", "replace"),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "server": ("127.0.0.1", 80),
            "client": ("127.0.0.1", 1),
            "headers": [(name.lower(), value) for name, value in sent.headers],
        }
        messages: list[dict[str, Any]] = []
        told = False
        done = asyncio.Event()

        async def receive() -> dict[str, Any]:
            nonlocal told
            if told:
                await done.wait()
                return {"type": "http.disconnect"}
            told = True
            return {"type": "http.request", "body": sent.body, "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            messages.append(message)
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                done.set()  # as a server does, whose client has all of it

        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await app(scope, receive, send)
        except TimeoutError:
            return Answered(fault=f"no answer within {PATIENCE_SECONDS:g} s")
        except Exception as error:
            return Answered(fault=f"raised {error!r}")
        return _joined(messages)

    return ask


def _joined(messages: list[dict[str, Any]]) -> Answered:
    if not messages or messages[0]["type"] != "http.response.start":
        return Answered(fault="no answer")
    first, *rest = messages
    whole = bool(rest) and not rest[-1].get("more_body", False)
    body = b"".join(bytes(message.get("body", b"")) for message in rest)
    headers = tuple((bytes(name), bytes(value)) for name, value in first["headers"])
    return Answered(first["status"], headers, body, "" if whole else "torn off")


def over(url: str) -> Ask:
    """Ask a server at an address, a connection for each request."""
    host, port = urlsplit(url).hostname or "127.0.0.1", urlsplit(url).port or 80

    async def ask(sent: Sent) -> Answered:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await _asked_over(host, port, sent)
        except TimeoutError:
            return Answered(fault=f"no answer within {PATIENCE_SECONDS:g} s")
        except (OSError, h11.RemoteProtocolError) as error:
            return Answered(fault=f"torn off: {error!r}")

    return ask


async def _asked_over(host: str, port: int, sent: Sent) -> Answered:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        lines = [sent.method.encode() + b" " + sent.target + b" HTTP/1.1"]
        names = {name.lower() for name, _ in sent.headers}
        given = [*sent.headers, (b"Connection", b"close")]
        if b"host" not in names:
            given.append((b"Host", f"{host}:{port}".encode()))
        if b"content-length" not in names:
            given.append((b"Content-Length", str(len(sent.body)).encode()))
        lines += [name + b": " + value for name, value in given]
        writer.write(b"\r\n".join(lines) + b"\r\n\r\n" + sent.body)
        return await _read(reader, sent.method)
    finally:
        writer.close()


async def _read(reader: asyncio.StreamReader, method: str) -> Answered:
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
    client.send(h11.EndOfMessage())
    status, body = 0, b""
    headers: Headers = ()
    while True:
        match client.next_event():
            case h11.Response() as start:
                status, headers = start.status_code, tuple(start.headers.raw_items())
            case h11.Data() as part:
                body += bytes(part.data)
            case h11.EndOfMessage():
                return Answered(status, headers, body)
            case h11.NEED_DATA:
                client.receive_data(await reader.read(65536))
            case event:
                return Answered(status, headers, body, f"torn off: {event!r}")
