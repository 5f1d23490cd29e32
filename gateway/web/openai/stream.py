"""OpenAI's streamed pictures: previews and pictures as server-sent events, in time."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack
from typing import Any

import msgspec
from litestar.response import Stream
from msgspec import UNSET, UnsetType

from gateway.accounts.limits import Caller
from gateway.errors import GatewayError, UnsupportedValue
from gateway.images.receipt import Receipt
from gateway.job import Job, StepDone
from gateway.remarks import Remark
from gateway.studio import Picture, PreviewPicture, Rendering
from gateway.web.door.answers.content import GAP, Content
from gateway.web.door.answers.envelope import envelope
from gateway.web.door.bodies.bodies import Asked
from gateway.web.door.desk import Desk
from gateway.web.openai.usage import Usage
from gateway.web.openai.wire import Wanted, background_of, quality_of, resample_headers


class StreamEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A server-sent event of a streamed generation."""

    type: str
    b64_json: str
    created_at: int
    size: str
    quality: str
    background: str
    output_format: str
    index: int
    partial_image_index: int | UnsetType = UNSET
    usage: Usage | UnsetType = UNSET
    seed: int | UnsetType = UNSET
    receipt: Receipt | UnsetType = UNSET
    safety_identifier: str | UnsetType = UNSET
    warnings: tuple[Remark, ...] | UnsetType = UNSET


async def stream_images(
    desk: Desk, request: Asked, caller: Caller, job: Job, wanted: Wanted, prefix: str
) -> Stream:
    """Server-sent events: previews while drawing, then each picture."""
    rendering = wanted.rendering
    if rendering.format == "raw":
        raise UnsupportedValue("'raw' cannot be streamed.", param="response_format")
    still = Rendering(rendering.format, rendering.quality, previews=rendering.format)
    quality = quality_of(desk, job)

    def frames(items: AsyncGenerator[Any]) -> AsyncGenerator[Content]:
        return _frames(items, job, wanted, quality, prefix)

    response = await streamed(desk, request, caller, job, still, frames)
    response.headers.update(resample_headers(job))
    return response


async def streamed(
    desk: Desk,
    request: Asked,
    caller: Caller,
    job: Job,
    rendering: Rendering,
    frames: Callable[[AsyncGenerator[Any]], AsyncGenerator[Content]],
) -> Stream:
    """A job drawn as server-sent events, which `frames` makes of what comes of it.

    Admission is decided before the first byte, so that a refusal keeps its status: the key's
    limits let the job in, and what the engine refuses at once it refuses when first asked.
    """
    claiming = desk.claiming(request, caller, job)
    async with AsyncExitStack() as held:
        await held.enter_async_context(desk.let_in(request, caller, claiming))
        items = desk.stream(request, claiming, rendering)
        first = asyncio.ensure_future(anext(items))
        await asyncio.sleep(0)
        if first.done():
            first.result()
        drawn = _chained(first, items, held.pop_all())
    return Stream(
        keep_alive(frames(drawn), desk.settings.heartbeat_seconds, lambda: desk.preparing(job)),
        status_code=200,
        media_type="text/event-stream",
        headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
    )


async def _chained(
    first: asyncio.Future[Any], items: AsyncGenerator[Any], held: AsyncExitStack
) -> AsyncGenerator[Any]:
    """What is drawn, the first of which was asked for already; closing it lets go what is held."""
    async with held:
        try:
            yield await first
            async for item in items:
                yield item
        finally:
            first.cancel()
            await asyncio.wait({first})
            await items.aclose()


async def keep_alive(
    frames: AsyncGenerator[Content], seconds: float, waiting_for: Callable[[], str | None]
) -> AsyncGenerator[bytes]:
    """The frames, with a comment whenever none came for a while: what is waited for, or a ping."""
    upcoming: asyncio.Task[Content] | None = None
    try:
        if first := waiting_for():
            yield comment(first)
        while True:
            upcoming = upcoming or asyncio.ensure_future(anext(frames))
            done, _ = await asyncio.wait({upcoming}, timeout=seconds)
            if not done:
                yield comment(waiting_for() or "ping")
                continue
            try:
                frame = upcoming.result()
            except StopAsyncIteration:
                return
            upcoming = None
            async for piece in frame.sent():
                yield piece
    finally:
        if upcoming is not None:
            upcoming.cancel()
            await asyncio.wait({upcoming})
        await frames.aclose()


async def _frames(
    items: AsyncGenerator[Any], job: Job, wanted: Wanted, quality: str, prefix: str
) -> AsyncGenerator[Content]:
    width, height = job.output_size or (job.width, job.height)
    facts: dict[str, Any] = {
        "created_at": int(time.time()),
        "size": f"{width}x{height}",
        "quality": quality,
        "background": background_of(job),
        "output_format": wanted.rendering.format,
        "safety_identifier": wanted.safety_identifier,
    }
    num_done = 0
    try:
        async for item in items:
            if isinstance(item, PreviewPicture):
                yield frame(
                    StreamEvent(
                        type=f"{prefix}.partial_image",
                        b64_json=GAP,
                        index=item.sample,
                        partial_image_index=item.index,
                        **facts,
                    ),
                    item.data,
                )
            elif isinstance(item, Picture):
                yield frame(
                    StreamEvent(
                        type=f"{prefix}.completed",
                        b64_json=GAP,
                        index=item.sample,
                        usage=Usage.of(job, [item], is_first=not num_done),
                        seed=item.seed,
                        receipt=item.receipt,
                        warnings=item.remarks,
                        **facts,
                    ),
                    item.data,
                )
                num_done += 1
            elif isinstance(item, StepDone):
                yield step_comment(item)
    except GatewayError as error:
        refused = {"type": "error", **msgspec.to_builtins(envelope(error))}
        yield Content((b"event: error\ndata: " + msgspec.json.encode(refused) + b"\n\n",))
    finally:
        await items.aclose()


def frame(event: StreamEvent, picture: bytes) -> Content:
    """One event on the wire."""
    return server_sent(Content.of(event, [picture]), event.type)


def server_sent(content: Content, name: str = "") -> Content:
    """A JSON document as an event."""
    head = f"event: {name}\ndata: " if name else "data: "
    *before, last = (head.encode() + content.texts[0], *content.texts[1:])
    return Content((*before, last + b"\n\n"), content.pictures)


def step_comment(step: StepDone) -> Content:
    """How far a picture is."""
    return Content((comment(f"step {step.step}/{step.num_steps} of {step.sample}"),))


def comment(text: str) -> bytes:
    """What every SDK skips, and the playground shows."""
    return f": {text}\n\n".encode()
