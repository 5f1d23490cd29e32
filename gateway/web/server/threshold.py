"""Outside the application: stands in for it until it is there, and turns away what is too much."""

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.errors import GatewayError, ServerFull, ShuttingDown
from gateway.telemetry.vitals import LOADING, OK, Health
from gateway.web.door.answers.envelope import envelope, retry_headers
from gateway.web.door.handshake import answer
from gateway.web.server.connections import Hall

if TYPE_CHECKING:
    from litestar import Litestar
    from litestar.types import Message, Receive, Scope, Send

WATCHED = "/health"
"""Answered however full it is: whoever watches would start a busy process anew."""

STARTING = Health(LOADING, {"engine": LOADING})
BEFORE_OPENING = {
    "/health/live": (200, {"status": OK}),
    "/health": (200, STARTING),
    "/health/ready": (503, STARTING),
}
"""What can be said while there is no application yet; all else waits for it."""

CLOSE = (b"connection", b"close")


class Threshold:
    """Passes requests on to an application that may still have to come."""

    def __init__(self, hall: Hall) -> None:
        self.hall = hall
        self.app: Litestar | None = None
        self.is_leaving = False
        self._settled = asyncio.Event()

    def open(self, app: "Litestar") -> None:
        """Let in those who wait, and everybody after them."""
        self.app = app
        app.state.vitals.is_leaving = self.is_leaving
        self._settled.set()

    def leave(self) -> None:
        """Not ready from this moment; who comes while there is no application is sent away."""
        self.is_leaving = True
        if self.app is not None:
            self.app.state.vitals.is_leaving = True
        self._settled.set()

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Pass a request on; one that comes while the server leaves is its connection's last."""
        scope = _with_path(scope)
        path = str(scope.get("path"))
        if self.hall.is_full and not path.startswith(WATCHED):
            error = ServerFull("Too many requests are being answered. Try again later.")
            await _turn_away(scope, send, error)
            return
        if self.app is None:
            if path in BEFORE_OPENING and not self.is_leaving:
                await _send(scope, send, *BEFORE_OPENING[path])
                return
            await self._settled.wait()
        if self.app is None:
            await _turn_away(scope, send, ShuttingDown("The server is shutting down."))
            return

        async def parting(message: "Message") -> None:
            if message["type"] == "http.response.start" and self.is_leaving:
                message["headers"] = [*message["headers"], CLOSE]
            await send(message)

        await self.app(scope, receive, parting)


def _with_path(scope: "Scope") -> "Scope":
    """The same request, where its target is a whole URL by the path of that."""
    if not scope["path"].startswith(("http://", "https://")):
        return scope
    asked = scope.copy()
    asked["path"] = "/" + "".join(scope["path"].split("/", 3)[3:])
    asked["raw_path"] = asked["path"].encode()
    return asked


async def _turn_away(scope: "Scope", send: "Send", error: GatewayError) -> None:
    headers = {"connection": "close", **retry_headers(error)}
    await _send(scope, send, error.status, envelope(error), headers)


async def _send(
    scope: "Scope", send: "Send", status: int, body: Any, headers: dict[str, str] | None = None
) -> None:
    named = {"content-type": "application/json", **(headers or {})}
    await answer(scope, send, status, named, msgspec.json.encode(body))
