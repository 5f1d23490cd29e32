"""uvicorn's server with bounds: it starts on a port it has, and ends in good order."""

import asyncio
import gc
import math
import signal
import socket
import sys
import time
from types import FrameType
from typing import Any, cast

import msgspec
import structlog
import uvicorn
from litestar import Litestar
from litestar.datastructures import MutableScopeHeaders
from litestar.enums import ScopeType
from litestar.types import Message, Receive, Scope, Send

from gateway.engine.protocol import Engine
from gateway.errors import ServerFull
from gateway.settings import Settings
from gateway.telemetry.vitals import Vitals
from gateway.web.door.faults import envelope, retry_headers
from gateway.web.server.connections import Hall
from gateway.web.server.descriptors import connections_within, raise_limit

SWEEP_SECONDS = 1.0
WATCHED = "/health"
"""Answered however full it is: whoever watches would start a busy process anew."""
POLL_SECONDS = 0.05
SWITCH_SECONDS = 0.001
"""After which a thread at work lets the event loop on, which waits for that in each of its turns.
By default it is 5 ms; the work takes no longer so."""

FAREWELL_SECONDS = 5.0
"""For the answers of what was drawn last: encoding, storing, and the way to the client."""

log = structlog.get_logger()


class Server(uvicorn.Server):
    """Serves an application, whose engine finishes what runs before the last connection closes."""

    def __init__(self, app: Litestar, engine: Engine, settings: Settings) -> None:
        self.app, self.engine, self.settings = app, engine, settings
        self.vitals: Vitals = app.state.vitals
        self.hall = Hall(settings, connections_within(raise_limit(), settings.max_connections))
        self._is_hurried = False
        config = uvicorn.Config(
            cast(Any, Threshold(app, self.hall, self.vitals)),
            http=cast(Any, self.hall.connection),
            ws="none",
            lifespan="off",
            log_config=None,
            server_header=False,
            timeout_keep_alive=math.ceil(settings.keep_alive_seconds),
            timeout_graceful_shutdown=math.ceil(settings.grace_seconds + 2 * FAREWELL_SECONDS),
        )
        super().__init__(config)

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, and only then listen; a signal is heeded from the beginning."""
        with self.capture_signals():
            async with self.app.lifespan():
                # Half a million objects of libraries that stay: to walk them all, again and again
                # in search of garbage, is a tenth of a second in which nobody is answered.
                gc.freeze()
                sys.setswitchinterval(SWITCH_SECONDS)
                sweeping = asyncio.create_task(self._sweep())
                try:
                    await super().serve(sockets)
                finally:
                    sweeping.cancel()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Heed a signal: not ready from this moment. Who asks at a terminal is in a hurry."""
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = self.vitals.is_leaving = True
        self._is_hurried = self._is_hurried or sig == signal.SIGINT

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stay open while balancers look away, refuse what is new, finish what runs, close."""
        log.info("stopping", connections=len(self.hall.connections))
        drained = time.monotonic() + self.settings.drain_seconds
        while time.monotonic() < drained and not self._is_hurried:
            await asyncio.sleep(POLL_SECONDS)
        closing = asyncio.create_task(super().shutdown(sockets))
        await self._stop_engine()
        # What is open now has its answer on the way, or waits for nothing that will come.
        await asyncio.wait({closing}, timeout=0 if self.force_exit else FAREWELL_SECONDS)
        for connection in list(self.hall.connections):
            connection.cut("stopping")
        await closing

    async def _stop_engine(self) -> None:
        stopping = asyncio.create_task(self.engine.stop(self.settings.grace_seconds))
        while not stopping.done() and not self.force_exit:
            await asyncio.wait({stopping}, timeout=POLL_SECONDS)
        if not stopping.done():
            stopping.cancel()
            await self.engine.stop(0)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            self.hall.sweep()


class Threshold:
    """Outside the application: turns requests away while too many are being answered."""

    def __init__(self, app: Litestar, hall: Hall, vitals: Vitals) -> None:
        self.app, self.hall, self.vitals = app, hall, vitals

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; one that comes while the server leaves is its connection's last."""
        if self.hall.is_full and not str(scope.get("path")).startswith(WATCHED):
            await _turn_away(send)
            return

        async def parting(message: Message) -> None:
            if message["type"] == "http.response.start" and self.vitals.is_leaving:
                MutableScopeHeaders.from_message(message)["connection"] = "close"
            await send(message)

        await self.app(_with_path(scope), receive, parting)


def _with_path(scope: Scope) -> Scope:
    """The same request, where its target is a whole URL by the path of that."""
    if scope["type"] != ScopeType.HTTP or not scope["path"].startswith(("http://", "https://")):
        return scope
    asked = scope.copy()
    asked["path"] = "/" + "".join(scope["path"].split("/", 3)[3:])
    asked["raw_path"] = asked["path"].encode()
    return asked


async def _turn_away(send: Send) -> None:
    error = ServerFull("Too many requests are being answered. Try again later.")
    headers = {"content-type": "application/json", "connection": "close", **retry_headers(error)}
    encoded = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": error.status, "headers": encoded})
    body = msgspec.json.encode(envelope(error))
    await send({"type": "http.response.body", "body": body, "more_body": False})
