"""Keeping impatient clients while their pictures are drawn.

After a few silent seconds the status line is committed and a space is sent now and then:
JSON may begin with whitespace, so every client's parser takes the body as if it had come
at once, and none of their read timeouts strikes.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import structlog
from litestar import Request
from litestar.response import Response
from litestar.response.streaming import ASGIStreamingResponse
from litestar.types import Receive, Scope, Send

from gateway.errors import Cancelled, GatewayError

log = structlog.get_logger()


async def wait_for(
    request: Request[Any, Any, Any], work: "asyncio.Task[Any]", seconds: float | None
) -> bool:
    """Wait for work up to a number of seconds, or without end, and say whether it is done.

    Raises:
        Cancelled: the client went away.
    """
    gone = asyncio.create_task(_disconnected(request.receive))
    try:
        await asyncio.wait({work, gone}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if gone.done() and not work.done():
            raise Cancelled("The client closed the connection.")
    finally:
        gone.cancel()
    return work.done()


class HeartbeatResponse(Response[Any]):
    """A 200 whose JSON comes later; `held` is closed when nobody waits any more.

    Should the work fail after all, the connection is dropped without its last chunk: the
    status is committed, and a client must not take half an answer for a whole one.
    """

    def __init__(
        self,
        body: "asyncio.Task[bytes]",
        held: AsyncExitStack,
        seconds: float,
        headers: dict[str, str],
    ) -> None:
        super().__init__(None, status_code=200, headers=headers, media_type="application/json")
        self.body, self.held, self.seconds = body, held, seconds

    def to_asgi_response(self, *_: Any, **options: Any) -> "HeartbeatASGIResponse":
        headers = {**(options.get("headers") or {}), **self.headers}
        return HeartbeatASGIResponse(
            iterator=heartbeats(self.body, self.seconds),
            headers=headers,
            media_type="application/json",
            status_code=200,
            cookies=options.get("cookies"),
            encoded_headers=options.get("encoded_headers"),
            held=self.held,
        )


class HeartbeatASGIResponse(ASGIStreamingResponse):
    """Streams heartbeats and the body; leaves the response unfinished if the work failed."""

    __slots__ = ("held",)

    def __init__(self, *, held: AsyncExitStack, **options: Any) -> None:
        super().__init__(**options)
        self.held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self.held:
            await super().__call__(scope, receive, send)

    async def send_body(self, send: Send, receive: Receive) -> None:
        try:
            await super().send_body(send, receive)
        except* GatewayError as group:
            log.warning("request failed after its status was sent", fault=str(group.exceptions[0]))


async def heartbeats(body: "asyncio.Task[bytes]", seconds: float) -> AsyncIterator[bytes]:
    """A space every so many seconds, then the body."""
    while not body.done():
        yield b" "
        await asyncio.wait({body}, timeout=seconds)
    yield body.result()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
