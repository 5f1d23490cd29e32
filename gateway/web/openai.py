"""OpenAI's dialect of image generation."""

import asyncio
import base64
import time
from collections.abc import AsyncGenerator
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, post
from litestar.response import Stream
from msgspec import UNSET, Meta, UnsetType

from gateway.convert import convert
from gateway.errors import GatewayError, InvalidValue, UnsupportedValue
from gateway.intake import fold, read_request, to_job
from gateway.job import Job, StepDone
from gateway.receipt import Receipt
from gateway.studio import Format, Picture, PreviewPicture, Rendering
from gateway.web.auth import Caller
from gateway.web.desk import Asked, Desk, read_json
from gateway.web.faults import envelope
from gateway.web.friendli import answer_container, is_container_client
from gateway.web.schema import documented

Quality = Literal["auto", "low", "medium", "high", "xhigh", "max", "standard", "hd"]
ENCODINGS: dict[str, Format] = {"png": "png", "jpeg": "jpeg", "jpg": "jpeg", "webp": "webp"}
RESPONSE_FORMATS = ("url", "b64_json", "raw", "png", "jpeg", "jpg", "webp")
PING = b": ping\n\n"


class ImageGenerationBody(msgspec.Struct, frozen=True):
    """`POST /v1/images/generations`. Unknown and null fields are ignored.

    What the card of the endpoint bounds (size, steps, guidance) is checked against it.
    """

    prompt: Annotated[str, Meta(description="what to draw")]
    model: Annotated[str | None, Meta(description="`endpoint` or `endpoint:adapter`")] = None
    n: Annotated[int, Meta(ge=1, le=10, description="pictures")] = 1
    size: Annotated[str | None, Meta(description="`auto` or `WIDTHxHEIGHT` in pixels")] = None
    quality: Quality | None = None
    background: Literal["transparent", "opaque", "auto"] | None = None
    output_format: Annotated[str | None, Meta(description="png, jpeg or webp")] = None
    output_compression: Annotated[
        int, Meta(ge=0, le=100, description="quality of jpeg and webp, in percent")
    ] = 100
    response_format: Annotated[
        str | None, Meta(description="url, b64_json, raw, png, jpeg; absent: url and b64_json")
    ] = None
    stream: bool = False
    partial_images: Annotated[int, Meta(ge=0, le=3, description="previews while streaming")] = 0
    moderation: str | None = None
    style: str | None = None
    user: str | None = None
    seed: Annotated[int | None, Meta(description="null or -1: random")] = None
    num_inference_steps: Annotated[int | None, Meta(description="denoising steps")] = None
    guidance_scale: float | None = None
    true_cfg_scale: float | None = None
    negative_prompt: str | None = None
    loras: Annotated[Any, Meta(description="adapters by route: `[{name, scale}]`")] = None
    timeout: Annotated[float | None, Meta(description="seconds the client will wait")] = None


class Tokens(msgspec.Struct, frozen=True):
    """How usage splits; this gateway counts no tokens."""

    text_tokens: int = 0
    image_tokens: int = 0


class Usage(msgspec.Struct, frozen=True):
    """Complete because clients read it unasked; zero because nothing is metered."""

    total_tokens: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    input_tokens_details: Tokens = Tokens()
    output_tokens_details: Tokens = Tokens()


class ImageItem(msgspec.Struct, frozen=True, kw_only=True):
    """One picture. `width`, `height`, `channels` describe raw pixels."""

    seed: int
    response_format: str
    receipt: Receipt
    url: str | UnsetType = UNSET
    b64_json: str | UnsetType = UNSET
    width: int | UnsetType = UNSET
    height: int | UnsetType = UNSET
    channels: int | UnsetType = UNSET


class ImagesResponse(msgspec.Struct, frozen=True, kw_only=True):
    """The answer. `rendered_size` differs from `size` where the picture was resampled."""

    created: int
    data: list[ImageItem]
    background: str = "opaque"
    output_format: str = "png"
    quality: str = "high"
    size: str = "auto"
    rendered_size: str | UnsetType = UNSET
    usage: Usage = Usage()


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


class Wanted(msgspec.Struct, frozen=True):
    """How the answer is to look; `as_bytes` means the picture itself, for `curl -o`."""

    rendering: Rendering
    response_format: str | None
    quality: str
    as_bytes: bool = False

    @classmethod
    def of(cls, body: ImageGenerationBody, accept: str) -> "Wanted":
        """Read it off the body and the `Accept` header.

        Raises:
            InvalidValue: a format that does not exist.
            UnsupportedValue: one of OpenAI's that this gateway does not make.
        """
        as_bytes = _accepted(accept) if body.n == 1 and not body.stream else None
        form = body.response_format
        if form is not None and form not in RESPONSE_FORMATS:
            raise InvalidValue("response_format", form, _quoted(RESPONSE_FORMATS))
        encoding = as_bytes or _encoding(body.output_format)
        if form in ENCODINGS:
            encoding = ENCODINGS[form]
        if form == "raw" and not as_bytes:
            encoding = "raw"
        quality = "high" if body.quality in (None, "auto", "standard", "hd") else body.quality
        assert quality is not None
        rendering = Rendering(encoding, body.output_compression)
        return cls(rendering, form, quality, as_bytes is not None)


def routes(desk: Desk) -> list[Any]:
    """The dialect's route handlers."""

    @post(
        ["/v1/images/generations", "/images/generations"],
        status_code=200,
        operation_class=documented(ImageGenerationBody, ImagesResponse, streams=True),
        tags=["images"],
    )
    async def generate_images(request: Request[Any, Any, Any]) -> Response[Any]:
        """Draw pictures from a text prompt."""
        caller = desk.admit(request)
        given = await read_json(request)
        if is_container_client(request, given):
            return await answer_container(desk, request, caller, given)
        body = convert(folded_body(given), ImageGenerationBody)
        wanted = Wanted.of(body, request.headers.get("accept", ""))
        asked = read_request(given)
        model = desk.resolve(asked.model, caller)
        job = to_job(asked, model, desk.catalog, desk.settings, desk.terms(request, caller))
        if body.stream:
            return await stream_images(desk, request, caller, job, wanted, "image_generation")
        return await answer_images(desk, request, caller, job, wanted)

    return [generate_images]


async def answer_images(
    desk: Desk, request: Asked, caller: Caller, job: Job, wanted: Wanted
) -> Response[Any]:
    """The whole answer at once: JSON, or the picture's bytes."""
    headers = resample_headers(job)

    async def respond_json(pictures: list[Picture]) -> bytes:
        items = [await _item(desk, request, picture, wanted) for picture in pictures]
        return msgspec.json.encode(
            ImagesResponse(
                created=int(time.time()),
                data=items,
                output_format=wanted.rendering.format,
                quality=wanted.quality,
                size=f"{pictures[0].width}x{pictures[0].height}",
                rendered_size=f"{job.width}x{job.height}" if job.output_size else UNSET,
            )
        )

    async def respond_bytes(pictures: list[Picture]) -> bytes:
        return pictures[0].data

    if not wanted.as_bytes:
        return await desk.answer(request, caller, job, wanted.rendering, respond_json, headers)
    headers |= {
        "content-type": f"image/{wanted.rendering.format}",
        "x-seed": str(job.seeds[0]),
        "vary": "accept",
    }
    return await desk.answer(request, caller, job, wanted.rendering, respond_bytes, headers)


async def stream_images(
    desk: Desk, request: Asked, caller: Caller, job: Job, wanted: Wanted, prefix: str
) -> Stream:
    """Server-sent events: previews while drawing, then each picture.

    Admission is decided before the first byte, so that a refusal keeps its status.
    """
    rendering = wanted.rendering
    if rendering.format == "raw":
        raise UnsupportedValue("'raw' cannot be streamed.", param="response_format")
    still = Rendering(rendering.format, rendering.quality, previews=rendering.format)
    items = await begun(desk.stream(request, caller, job, still))
    frames = _frames(items, job, wanted, prefix)
    return Stream(
        keep_alive(frames, desk.settings.heartbeat_seconds),
        status_code=200,
        media_type="text/event-stream",
        headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no", **resample_headers(job)},
    )


def resample_headers(job: Job) -> dict[str, str]:
    """Says so where the picture was rendered at another size than it is answered in."""
    return {"x-rendered-size": f"{job.width}x{job.height}"} if job.output_size else {}


async def begun(items: AsyncGenerator[Any]) -> AsyncGenerator[Any]:
    """The same items, after the first was asked for: what refuses at once refuses here."""
    first = asyncio.ensure_future(anext(items))
    await asyncio.sleep(0)
    if first.done():
        first.result()

    async def chained() -> AsyncGenerator[Any]:
        try:
            yield await first
            async for item in items:
                yield item
        finally:
            first.cancel()
            await asyncio.wait({first})
            await items.aclose()

    return chained()


async def keep_alive(frames: AsyncGenerator[bytes], seconds: float) -> AsyncGenerator[bytes]:
    """The frames, with a comment whenever none came for a while."""
    upcoming: asyncio.Task[bytes] | None = None
    try:
        while True:
            upcoming = upcoming or asyncio.ensure_future(anext(frames))
            done, _ = await asyncio.wait({upcoming}, timeout=seconds)
            if not done:
                yield PING
                continue
            try:
                frame = upcoming.result()
            except StopAsyncIteration:
                return
            upcoming = None
            yield frame
    finally:
        if upcoming is not None:
            upcoming.cancel()
            await asyncio.wait({upcoming})
        await frames.aclose()


async def _frames(
    items: AsyncGenerator[Any], job: Job, wanted: Wanted, prefix: str
) -> AsyncGenerator[bytes]:
    width, height = job.output_size or (job.width, job.height)
    facts: dict[str, Any] = {
        "created_at": int(time.time()),
        "size": f"{width}x{height}",
        "quality": wanted.quality,
        "background": "opaque",
        "output_format": wanted.rendering.format,
    }
    try:
        async for item in items:
            if isinstance(item, PreviewPicture):
                yield frame(
                    StreamEvent(
                        type=f"{prefix}.partial_image",
                        b64_json=_base64(item.data),
                        index=item.sample,
                        partial_image_index=item.index,
                        **facts,
                    )
                )
            elif isinstance(item, Picture):
                yield frame(
                    StreamEvent(
                        type=f"{prefix}.completed",
                        b64_json=_base64(item.data),
                        index=item.sample,
                        usage=Usage(),
                        seed=item.seed,
                        receipt=item.receipt,
                        **facts,
                    )
                )
            elif isinstance(item, StepDone):
                # A comment: every SDK skips it, and the playground shows it.
                yield f": step {item.step}/{item.num_steps} of {item.sample}\n\n".encode()
    except GatewayError as error:
        refused = {"type": "error", **msgspec.to_builtins(envelope(error))}
        yield b"event: error\ndata: " + msgspec.json.encode(refused) + b"\n\n"
    finally:
        await items.aclose()


def frame(event: StreamEvent) -> bytes:
    """One event on the wire."""
    return f"event: {event.type}\ndata: ".encode() + msgspec.json.encode(event) + b"\n\n"


async def _item(desk: Desk, request: Asked, picture: Picture, wanted: Wanted) -> ImageItem:
    form = wanted.response_format
    raw = picture.format == "raw"
    with_url = form in (None, "url")
    with_data = form != "url"
    return ImageItem(
        seed=picture.seed,
        response_format="url" if form == "url" else picture.format,
        receipt=picture.receipt,
        url=await desk.keep(request, picture) if with_url else UNSET,
        b64_json=_base64(picture.data) if with_data else UNSET,
        width=picture.width if raw else UNSET,
        height=picture.height if raw else UNSET,
        channels=3 if raw else UNSET,
    )


def folded_body(given: dict[str, Any]) -> dict[str, Any]:
    """The body under canonical names; what has forms of its own is read by the intake."""
    folded = fold(given)
    for name in ("size", "loras"):
        folded.pop(name, None)
    if "timeout_seconds" in folded:
        folded["timeout"] = folded.pop("timeout_seconds")
    return folded


def _encoding(name: str | None) -> Format:
    if name is None:
        return "png"
    if name in ("gif", "svg"):
        raise UnsupportedValue(
            f"'{name}' is not made here: png, jpeg, webp.", param="output_format"
        )
    if name not in ENCODINGS:
        raise InvalidValue("output_format", name, _quoted(("png", "jpeg", "webp")))
    return ENCODINGS[name]


def _accepted(accept: str) -> Format | None:
    """The picture type a client accepts before JSON, if any."""
    for entry in accept.lower().split(","):
        kind = entry.split(";")[0].strip()
        if kind in ("application/json", "*/*", "text/event-stream"):
            return None
        if kind == "image/*":
            return "png"
        if kind.startswith("image/") and kind[6:] in ENCODINGS:
            return ENCODINGS[kind[6:]]
    return None


def _quoted(names: tuple[str, ...]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
