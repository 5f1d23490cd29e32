"""Keeping impatient clients while their pictures are drawn.

After a few silent seconds the status line is committed and a space is sent now and then:
JSON may begin with whitespace, so every client's parser takes the body as if it had come
at once, and none of their read timeouts strikes.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack
from typing import Any, TypeVar

import msgspec
import structlog
from litestar import Request
from litestar.response import Response
from litestar.response.streaming import ASGIStreamingResponse
from litestar.types import Receive, Scope, Send

from gateway.errors import Cancelled, GatewayError
from gateway.web.door.answers.content import Content
from gateway.web.door.answers.envelope import envelope

log = structlog.get_logger()
T = TypeVar("T")


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


async def while_here(request: Request[Any, Any, Any], act: Coroutine[Any, Any, T]) -> T:
    """What an act comes to, given up when the client leaves; its body has been read.

    Raises:
        Cancelled: the client went away.
    """
    work = asyncio.create_task(act)
    try:
        await wait_for(request, work, None)
        return work.result()
    finally:
        work.cancel()


class HeartbeatResponse(Response[Any]):
    """A 200 whose JSON comes later; `held` is closed when nobody waits any more.

    Should the work fail after all, the status is committed: the body is then the error that
    would have been answered. OpenAI's SDKs hand it on as an answer without `data`, others as
    one they cannot read; none of them asks for the same again, and the reason is there.
    """

    def __init__(
        self,
        body: "asyncio.Task[Content]",
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
    """Streams heartbeats and the body, and then lets go of what it held."""

    __slots__ = ("held",)

    def __init__(self, *, held: AsyncExitStack, **options: Any) -> None:
        super().__init__(**options)
        self.held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self.held:
            await super().__call__(scope, receive, send)


async def heartbeats(body: "asyncio.Task[Content]", seconds: float) -> AsyncIterator[bytes]:
    """A space every so many seconds, then the body, or the error there is instead."""
    while not body.done():
        yield b" "
        await asyncio.wait({body}, timeout=seconds)
    try:
        async for piece in body.result().sent():
            yield piece
    except GatewayError as error:
        log.warning("request failed after its status was sent", fault=error.message)
        yield msgspec.json.encode(envelope(error))


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
