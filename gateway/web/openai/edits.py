"""Edits and variations: pictures in, pictures out, in OpenAI's and Friendli's dialects."""

from typing import Any

import msgspec
from litestar import Request, Response, post

from gateway.accounts.limits import Caller
from gateway.outside.parameters import fold, read_request
from gateway.outside.spelling import is_absent
from gateway.outside.values import convert
from gateway.web.door.answers.schema import documented
from gateway.web.door.bodies.sources import sources_of
from gateway.web.door.bodies.uploads import Upload, read_upload
from gateway.web.door.desk import Desk
from gateway.web.door.jobs import job_of
from gateway.web.friendli import generations as friendli
from gateway.web.friendli import wire as friendli_wire
from gateway.web.openai.generations import answer_images
from gateway.web.openai.stream import stream_images
from gateway.web.openai.wire import (
    DEPLOYMENT,
    ImageGenerationBody,
    ImagesResponse,
    Wanted,
    folded_body,
    of_deployment,
)

FAITHFUL_STRENGTH = 0.5
"""What `input_fidelity: high` means to a pipeline that redraws by strength."""
VARIATION_STRENGTH = 0.7
VARIATION_PROMPT = ""


class ImageEditBody(ImageGenerationBody, frozen=True, kw_only=True):
    """`POST /v1/images/edits`, as JSON or as multipart with the same names.

    `images` are `{image_url}` objects with a URL or data URL, or `{file_id}`; in multipart,
    `image` or `image[]` are files. `mask` marks what to edit by transparency, or in white;
    `markup` are marks to be drawn over the first picture, or else around what to redraw.
    """

    images: list[dict[str, str]] | None = None
    mask: dict[str, str] | None = None
    markup: dict[str, str] | None = None
    strength: float | None = None
    input_fidelity: str | None = None


def routes(desk: Desk) -> list[Any]:
    """The route handlers."""

    async def read(request: Request[Any, Any, Any], caller: Caller) -> Upload:
        upload = await read_upload(request, sources_of(desk, request, caller.id))
        of_deployment(request, upload.fields)
        return upload

    @post(
        ["/v1/images/edits", "/images/edits", f"{DEPLOYMENT}/images/edits"],
        status_code=200,
        operation_class=documented(ImageEditBody, ImagesResponse, streams=True, multipart=True),
        tags=["images"],
    )
    async def edit_images(request: Request[Any, Any, Any]) -> Response[Any]:
        """Redraw pictures, or the masked part of one, after a prompt."""
        caller = await desk.admit(request)
        upload = await read(request, caller)
        if friendli.is_container_client(request, upload.fields):
            return await _answer_container(desk, request, caller, upload)
        return await _answer_openai(desk, request, caller, upload)

    @post(
        ["/v1/images/variations", "/images/variations"],
        status_code=200,
        operation_class=documented(ImageEditBody, ImagesResponse, multipart=True),
        tags=["images"],
    )
    async def vary_image(request: Request[Any, Any, Any]) -> Response[Any]:
        """Draw a picture again, a little differently."""
        caller = await desk.admit(request)
        upload = await read(request, caller)
        given = {name: value for name, value in upload.fields.items() if not is_absent(value)}
        fields = {"prompt": VARIATION_PROMPT, "strength": VARIATION_STRENGTH, **given}
        varied = msgspec.structs.replace(upload, fields=fields)
        return await _answer_openai(desk, request, caller, varied, needs_prompt=False)

    @post(
        ["/dedicated/v1/images/edits", "/dedicated/images/edits"],
        status_code=200,
        operation_class=documented(
            friendli_wire.DedicatedImageEditBody, friendli_wire.DedicatedImages, multipart=True
        ),
        tags=["friendli"],
    )
    async def edit_dedicated(request: Request[Any, Any, Any]) -> Response[Any]:
        """Redraw a picture; Friendli's dedicated endpoint."""
        caller = await desk.admit(request)
        upload = await read(request, caller)
        body = convert(fold(upload.fields), friendli_wire.DedicatedImageGenerationBody)
        asked = read_request(upload.fields)
        model = desk.resolve(body.model, caller)
        terms = friendli.terms(desk, request, caller, upload.fields, edits=True)
        job = await job_of(desk, request, asked, model, upload, terms)
        return await friendli.answer_dedicated(desk, request, caller, job, asked, body)

    @post(
        ["/container/v1/images/edits", "/container/images/edits"],
        status_code=200,
        operation_class=documented(
            friendli_wire.ContainerImageEditBody, friendli_wire.ContainerImage, multipart=True
        ),
        tags=["friendli"],
    )
    async def edit_container(request: Request[Any, Any, Any]) -> Response[Any]:
        """Redraw a picture; Friendli's container."""
        caller = await desk.admit(request)
        return await _answer_container(desk, request, caller, await read(request, caller))

    return [edit_images, vary_image, edit_dedicated, edit_container]


async def _answer_openai(
    desk: Desk,
    request: Request[Any, Any, Any],
    caller: Caller,
    upload: Upload,
    *,
    needs_prompt: bool = True,
) -> Response[Any]:
    body = convert(folded_body(upload.fields), ImageGenerationBody)
    wanted = Wanted.of(body, request.headers.get("accept", ""))
    asked = read_request(upload.fields, needs_prompt=needs_prompt)
    fields = dict(upload.fields)
    if asked.strength is None and _is_high(upload.fields.get("input_fidelity")):
        asked = msgspec.structs.replace(asked, strength=FAITHFUL_STRENGTH)
        del fields["input_fidelity"]
    model = desk.resolve(asked.model, caller)
    remarks = wanted.remarks(fields, body, edits=True)
    job = await job_of(desk, request, asked, model, upload, desk.terms(request, caller, remarks))
    if body.stream:
        return await stream_images(desk, request, caller, job, wanted, "image_edit")
    return await answer_images(desk, request, caller, job, wanted)


def _is_high(fidelity: Any) -> bool:
    return isinstance(fidelity, str) and fidelity.strip().lower() == "high"


async def _answer_container(
    desk: Desk,
    request: Request[Any, Any, Any],
    caller: Caller,
    upload: Upload,
) -> Response[Any]:
    body = convert(fold(upload.fields), friendli_wire.ContainerImageGenerationBody)
    asked = read_request(upload.fields)
    model = friendli.container_model(desk, body.model, caller)
    terms = friendli.terms(desk, request, caller, upload.fields, edits=True)
    job = await job_of(desk, request, asked, model, upload, terms)
    return await friendli.answer_container_job(desk, request, caller, job, asked, body)
