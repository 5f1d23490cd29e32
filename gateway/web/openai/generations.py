"""OpenAI's dialect of image generation."""

import time
from typing import Any

from litestar import Request, Response, post
from msgspec import UNSET, UnsetType

from gateway.accounts.limits import Caller
from gateway.job import Job
from gateway.outside.parameters import read_request
from gateway.outside.values import convert
from gateway.studio import Picture
from gateway.web.door.answers.content import GAP, Content
from gateway.web.door.answers.patience import while_here
from gateway.web.door.answers.schema import documented
from gateway.web.door.bodies.bodies import Asked, read_json
from gateway.web.door.bodies.sources import sources_of
from gateway.web.door.bodies.uploads import Upload, find_pictures, names_pictures
from gateway.web.door.desk import Desk, warnings_of
from gateway.web.door.jobs import job_of
from gateway.web.door.ledger import note
from gateway.web.friendli.generations import answer_container, is_container_client
from gateway.web.openai.stream import stream_images
from gateway.web.openai.usage import Usage
from gateway.web.openai.wire import (
    DEPLOYMENT,
    ImageGenerationBody,
    ImageItem,
    ImagesResponse,
    Wanted,
    background_of,
    folded_body,
    of_deployment,
    quality_of,
    resample_headers,
)


def routes(desk: Desk) -> list[Any]:
    """The dialect's route handlers."""

    @post(
        ["/v1/images/generations", "/images/generations", f"{DEPLOYMENT}/images/generations"],
        status_code=200,
        operation_class=documented(ImageGenerationBody, ImagesResponse, streams=True),
        tags=["images"],
    )
    async def generate_images(request: Request[Any, Any, Any]) -> Response[Any]:
        """Draw pictures from a text prompt, or after pictures that are sent with it."""
        caller = await desk.admit(request)
        given = of_deployment(request, await read_json(request))
        if is_container_client(request, given):
            return await answer_container(desk, request, caller, given)
        body = convert(folded_body(given), ImageGenerationBody)
        wanted = Wanted.of(body, request.headers.get("accept", ""))
        asked = read_request(given)
        model = desk.resolve(asked.model, caller)
        upload = Upload(given, [])
        if names_pictures(given):
            sources = sources_of(desk, request, caller.id)
            upload = await while_here(request, find_pictures(given, sources))
        remarks = wanted.remarks(upload.fields, body, edits=bool(upload.images))
        terms = desk.terms(request, caller, remarks)
        job = await job_of(desk, request, asked, model, upload, terms)
        if body.stream:
            return await stream_images(desk, request, caller, job, wanted, "image_generation")
        return await answer_images(desk, request, caller, job, wanted)

    return [generate_images]


async def answer_images(
    desk: Desk, request: Asked, caller: Caller, job: Job, wanted: Wanted
) -> Response[Any]:
    """The whole answer at once: JSON, or the picture's bytes."""
    headers, quality = resample_headers(job), quality_of(desk, job)

    async def respond_json(pictures: list[Picture]) -> Content:
        usage = Usage.of(job, pictures)
        note(request.scope, tokens_read=usage.input_tokens, tokens_made=usage.output_tokens)
        answer = ImagesResponse(
            id=f"img_{job.id}",
            model=job.model_id,
            created=int(time.time()),
            data=[await _item(desk, request, picture, wanted) for picture in pictures],
            output_format=wanted.rendering.format,
            size=f"{pictures[0].width}x{pictures[0].height}",
            background=background_of(job),
            quality=quality,
            safety_identifier=wanted.safety_identifier,
            warnings=warnings_of(pictures),
            usage=usage,
            rendered_size=f"{job.width}x{job.height}" if job.output_size else UNSET,
        )
        inline = [picture.data for picture in pictures if wanted.response_format != "url"]
        return Content.of(answer, inline)

    async def respond_bytes(pictures: list[Picture]) -> Content:
        return Content((pictures[0].data,))

    if not wanted.as_bytes:
        return await desk.answer(request, caller, job, wanted.rendering, respond_json, headers)
    headers |= {
        "content-type": f"image/{wanted.rendering.format}",
        "x-seed": str(job.seeds[0]),
        "vary": "accept",
    }
    return await desk.answer(request, caller, job, wanted.rendering, respond_bytes, headers)


async def _item(desk: Desk, request: Asked, picture: Picture, wanted: Wanted) -> ImageItem:
    form = wanted.response_format
    raw = picture.format == "raw"
    url: str | UnsetType = UNSET
    if form == "url":
        url = await desk.keep(request, picture)
    elif form is None:
        url = await desk.try_keep(request, picture)
    return ImageItem(
        index=picture.sample,
        type="url" if form == "url" else "b64_json",
        seed=picture.seed,
        response_format="url" if form == "url" else picture.format,
        receipt=picture.receipt,
        url=url,
        b64_json=GAP if form != "url" else UNSET,
        width=picture.width if raw else UNSET,
        height=picture.height if raw else UNSET,
        channels=picture.channels if raw else UNSET,
    )
