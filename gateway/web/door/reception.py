"""What stands before the router: a request is taken out of whatever it came wrapped in."""

import re
from collections.abc import Iterable
from urllib.parse import quote, unquote_plus, urlsplit

from litestar.datastructures import Headers
from litestar.enums import ScopeType
from litestar.types import (
    ASGIApp,
    HTTPScope,
    Message,
    Receive,
    ReceiveMessage,
    Scope,
    Send,
)

from gateway.errors import Cancelled
from gateway.outside.spelling import is_absent
from gateway.web.door.addresses import MOUNTED_AT
from gateway.web.door.bodies.packing import unpacked

MAX_PAIRS = 64
"""Of a query; no route has ten parameters."""

AZURE = "/openai"
NO_TEXT = "\ufffd"
"""Stands for what is no text, as decoding puts it for bytes that are not UTF-8."""


class Reception:
    """Makes requests plain.

    - A path under which the server, or the public URL, puts the gateway is taken off, so that
      it answers there and at its root alike; `routes` are the gateway's own paths. So is the
      one that Azure's clients put before all of OpenAI's.
    - A parameter of the query with an empty value is an absent one, as in every body.
    - A NUL in path or query, which no database can look for, becomes a character that no id has.
    - A packed body is unpacked as it is read; one that its client breaks off was cancelled.
    """

    def __init__(self, app: ASGIApp, public_url: str | None, routes: Iterable[str]) -> None:
        self.app = app
        public = urlsplit(public_url or "").path.rstrip("/")
        own = {_top(route) for route in routes}
        self._public = public if _top(public) not in own else ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] not in (ScopeType.HTTP, ScopeType.WEBSOCKET):
            await self.app(scope, receive, send)
            return
        mounted_at = scope.get("root_path", "").rstrip("/")
        asked = scope.copy()
        asked["root_path"] = ""
        prefixes = (mounted_at, self._public, AZURE)
        asked["path"] = _under(prefixes, scope["path"]).replace("\0", NO_TEXT)
        asked["query_string"] = _tidy(scope["query_string"])
        asked.setdefault("state", {})[MOUNTED_AT] = mounted_at
        try:
            if asked["type"] == ScopeType.HTTP:
                await self._pass(asked, receive, send)
            else:
                await self.app(asked, receive, send)
        finally:
            scope["path_template"] = asked.get("path_template", "")

    async def _pass(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        is_read = is_answered = False
        encoding = ",".join(Headers.from_scope(scope).getall("content-encoding", []))
        if encoding:  # what is told of the packed body does not hold for the other
            told = (b"content-encoding", b"content-length")
            scope["headers"] = [header for header in scope["headers"] if header[0] not in told]

        async def receiving() -> ReceiveMessage:
            nonlocal is_read
            message = await receive()
            if message["type"] == "http.disconnect" and not (is_read or is_answered):
                raise Cancelled("The client closed the connection before its body was whole.")
            is_read = is_read or not message.get("more_body", False)
            return message

        async def sending(message: Message) -> None:
            nonlocal is_answered
            is_answered = True
            await send(message)

        unpacking = unpacked(receiving, encoding)

        async def reading() -> ReceiveMessage:
            """Who still reads when there is an answer only waits for the client to go."""
            return await (receiving() if is_answered else unpacking())

        await self.app(scope, reading, sending)


def _top(path: str) -> str:
    return path.strip("/").partition("/")[0]


def _under(prefixes: Iterable[str], path: str) -> str:
    """A path without the prefixes that it stands under."""
    for prefix in prefixes:
        if prefix and (path == prefix or path.startswith(f"{prefix}/")):
            path = path.removeprefix(prefix) or "/"
    return path


def _tidy(query: bytes) -> bytes:
    """A query without absent values, nor what stands behind more parameters than there are."""
    if not query:
        return query
    kept = []
    for pair in query.decode("latin-1").split("&", MAX_PAIRS)[:MAX_PAIRS]:
        name, _, value = map(_text, pair.partition("="))
        if not is_absent(value):
            kept.append(f"{quote(name)}={quote(value.strip())}")
    return "&".join(kept).encode()


def _text(quoted: str) -> str:
    """A name or value; unquoted bytes beyond ASCII are taken for the UTF-8 that they mostly are."""
    plain = re.sub(r"[^\x00-\x7f]+", lambda some: quote(some[0].encode("latin-1")), quoted)
    return unquote_plus(plain).replace("\0", NO_TEXT)
