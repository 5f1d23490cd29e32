"""`/ws`: who may listen, and until when."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import msgspec
import structlog
from litestar import WebSocket, websocket
from litestar.exceptions import WebSocketDisconnect
from litestar.handlers import WebsocketRouteHandler

from gateway.errors import GatewayError, RateLimited
from gateway.runs.runs import Runs
from gateway.telemetry import metrics
from gateway.web.comfyui.faults import both, fault_body
from gateway.web.comfyui.feed import Feed
from gateway.web.comfyui.nodes import FEATURES
from gateway.web.door.answers.envelope import retry_headers
from gateway.web.door.auth import Doorkeeper
from gateway.web.door.handshake import answer

AnySocket = WebSocket[Any, Any, Any]
MAX_SOCKETS = 64
"""Of one key in one process."""

ID_CHARACTERS = 200
INTERNAL_ERROR = 1011
log = structlog.get_logger()


def routes(door: Doorkeeper) -> list[WebsocketRouteHandler]:
    """The route handler; the application keeps its `Runs` in `state.runs`."""
    open_sockets: Counter[str] = Counter()

    @websocket(both("/ws"))
    async def listen(socket: AnySocket) -> None:
        """Tell a client of its prompts for as long as it listens."""
        try:
            caller = door.identify(socket)
            with _counted(open_sockets, caller.id):
                await socket.accept()
                await _served(socket, socket.app.state.runs, caller.id)
        except GatewayError as error:
            headers = {"content-type": "application/json", **retry_headers(error)}
            body = msgspec.json.encode(fault_body(error))
            await answer(socket.scope, socket.send, error.status, headers, body)

    return [listen]


@contextmanager
def _counted(open_sockets: Counter[str], owner: str) -> Iterator[None]:
    """Hold one of an owner's sockets.

    Raises:
        RateLimited: it has as many as it may.
    """
    if open_sockets[owner] >= MAX_SOCKETS:
        raise RateLimited(f"This API key has {MAX_SOCKETS} websockets open.")
    open_sockets[owner] += 1
    metrics.SOCKETS.inc()
    try:
        yield
    finally:
        metrics.SOCKETS.dec()
        open_sockets[owner] -= 1
        if not open_sockets[owner]:
            del open_sockets[owner]


async def _served(socket: AnySocket, runs: Runs, owner: str) -> None:
    """Tell and listen; whichever ends first ends the other."""
    client_id = str(socket.query_params.get("clientId", ""))[:ID_CHARACTERS] or uuid4().hex

    async def send(kind: str, data: dict[str, Any]) -> None:
        text = msgspec.json.encode({"type": kind, "data": data}).decode()
        await socket.send_data(text, mode="text")

    async def show(preview: bytes) -> None:
        await socket.send_data(preview, mode="binary")

    feed = Feed(runs, owner, client_id, send, show)
    telling = asyncio.create_task(feed.tell())
    hearing = asyncio.create_task(_heard(socket, send))
    try:
        await asyncio.wait({telling, hearing}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (telling, hearing):
            task.cancel()
        await asyncio.wait({telling, hearing})
    fault = None if telling.cancelled() else telling.exception()
    if fault is not None and not _is_gone(fault):
        log.error("a websocket was given up", exc_info=fault)
        await socket.close(code=INTERNAL_ERROR)


def _is_gone(fault: BaseException) -> bool:
    """Whether all that was wrong is that nobody listens any more."""
    if isinstance(fault, BaseExceptionGroup):
        return all(map(_is_gone, fault.exceptions))
    return isinstance(fault, OSError | WebSocketDisconnect)


async def _heard(socket: AnySocket, send: Any) -> None:
    """What a client says, until it leaves: what it can do is answered, all else passed over."""
    try:
        while True:
            said = await socket.receive_data(mode="text")
            if said.startswith("{") and '"feature_flags"' in said:
                await send("feature_flags", FEATURES)
    except (WebSocketDisconnect, KeyError):
        return
