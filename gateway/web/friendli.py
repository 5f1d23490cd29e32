"""Friendli's dialect: the dedicated endpoints, and the container on its own or the shared path."""

import time
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, post
from msgspec import UNSET, Meta, UnsetType

from gateway.catalog import Model
from gateway.convert import convert
from gateway.errors import ModelNotFound
from gateway.intake import GenerationRequest, fold, read_request, to_job
from gateway.job import Job
from gateway.receipt import Receipt
from gateway.studio import Format, Picture, Rendering
from gateway.web.auth import Caller
from gateway.web.desk import Asked, Desk, read_json
from gateway.web.openai.wire import base64_text
from gateway.web.schema import documented

FORMATS: dict[str, Format] = {
    "url": "png",
    "raw": "raw",
    "png": "png",
    "jpeg": "jpeg",
    "jpg": "jpeg",
}
CONTAINER_PATHS = ["/container/v1/images/generations", "/container/images/generations"]


class DedicatedImageGenerationBody(msgspec.Struct, frozen=True):
    """`POST /dedicated/v1/images/generations`.

    Steps above the card's maximum are lowered to it, and a header says so: the SDK always
    sends 20.
    """

    model: Annotated[str, Meta(description="`endpoint` or `endpoint:adapter`")]
    prompt: Annotated[str, Meta(min_length=1)]
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    seed: int | None = None
    response_format: Literal["url", "raw", "png", "jpeg", "jpg"] | None = None


class ContainerImageGenerationBody(msgspec.Struct, frozen=True):
    """The container's body; `model` is a bare adapter route, or absent."""

    prompt: Annotated[str, Meta(min_length=1)]
    model: str | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    seed: int | None = None
    response_format: Literal["raw", "jpeg", "png", "jpg"] | None = None


class DedicatedImageEditBody(DedicatedImageGenerationBody, frozen=True, kw_only=True):
    """`POST /dedicated/v1/images/edits`; `image` is `{"image": URL or base64}`, or a list."""

    image: dict[str, str] | list[dict[str, str]]


class ContainerImageEditBody(ContainerImageGenerationBody, frozen=True, kw_only=True):
    """The container's edit; `image` as for the dedicated endpoints."""

    image: dict[str, str] | list[dict[str, str]]


class DedicatedItem(msgspec.Struct, frozen=True, kw_only=True):
    """One picture: a URL or base64, never both, and all items of one kind."""

    seed: int
    response_format: str
    receipt: Receipt
    url: str | UnsetType = UNSET
    b64_json: str | UnsetType = UNSET
    width: int | UnsetType = UNSET
    height: int | UnsetType = UNSET
    channels: int | UnsetType = UNSET


class DedicatedImages(msgspec.Struct, frozen=True):
    """The dedicated answer."""

    created: int
    data: list[DedicatedItem]


class ContainerImage(msgspec.Struct, frozen=True, kw_only=True):
    """The container's answer: one picture in base64."""

    image: str
    seed: int
    response_format: str
    width: int
    height: int
    channels: int = 3


def routes(desk: Desk) -> list[Any]:
    """The dialect's route handlers."""

    @post(
        ["/dedicated/v1/images/generations", "/dedicated/images/generations"],
        status_code=200,
        operation_class=documented(DedicatedImageGenerationBody, DedicatedImages),
        tags=["friendli"],
    )
    async def generate_dedicated(request: Request[Any, Any, Any]) -> Response[Any]:
        """Draw one picture; Friendli's dedicated endpoint."""
        caller = desk.admit(request)
        given = await read_json(request)
        body = convert(fold(given), DedicatedImageGenerationBody)
        asked = read_request(given)
        job = _job(desk, request, asked, desk.resolve(body.model, caller), caller)
        return await answer_dedicated(desk, request, caller, job, asked, body)

    @post(
        CONTAINER_PATHS,
        status_code=200,
        operation_class=documented(ContainerImageGenerationBody, ContainerImage),
        tags=["friendli"],
    )
    async def generate_container(request: Request[Any, Any, Any]) -> Response[Any]:
        """Draw one picture; Friendli's container."""
        caller = desk.admit(request)
        return await answer_container(desk, request, caller, await read_json(request))

    return [generate_dedicated, generate_container]


def is_container_client(request: Asked, given: dict[str, Any]) -> bool:
    """Whether a request on the shared path is Friendli's container client.

    Its SDK says who it is; nothing else on this path does both.
    """
    agent = request.headers.get("user-agent", "")
    return agent.startswith("speakeasy-sdk/") and "friendli" in agent and "prompt" in given


async def answer_dedicated(
    desk: Desk,
    request: Asked,
    caller: Caller,
    job: Job,
    asked: GenerationRequest,
    body: DedicatedImageGenerationBody,
) -> Response[Any]:
    """Draw a job and answer as the dedicated endpoints do."""
    form = body.response_format or "url"

    async def respond(pictures: list[Picture]) -> bytes:
        items = [await _item(desk, request, picture, form) for picture in pictures]
        return msgspec.json.encode(DedicatedImages(int(time.time()), items))

    headers = _headers(job, asked)
    return await desk.answer(request, caller, job, Rendering(FORMATS[form]), respond, headers)


async def answer_container(
    desk: Desk, request: Asked, caller: Caller, given: dict[str, Any]
) -> Response[Any]:
    """Draw from a prompt and answer as the container does."""
    body = convert(fold(given), ContainerImageGenerationBody)
    asked = read_request(given)
    job = _job(desk, request, asked, container_model(desk, body.model, caller), caller)
    return await answer_container_job(desk, request, caller, job, asked, body)


async def answer_container_job(
    desk: Desk,
    request: Asked,
    caller: Caller,
    job: Job,
    asked: GenerationRequest,
    body: ContainerImageGenerationBody,
) -> Response[Any]:
    """Draw a job and answer as the container does."""
    form = body.response_format or "jpeg"

    async def respond(pictures: list[Picture]) -> bytes:
        first = pictures[0]
        return msgspec.json.encode(
            ContainerImage(
                image=base64_text(first.data),
                seed=first.seed,
                response_format=form,
                width=first.width,
                height=first.height,
                channels=first.channels,
            )
        )

    headers = _headers(job, asked)
    return await desk.answer(request, caller, job, Rendering(FORMATS[form]), respond, headers)


def container_model(desk: Desk, name: str | None, caller: Caller) -> Model:
    """A container serves one endpoint: a bare name is an adapter route of the default one."""
    try:
        return desk.resolve(name, caller)
    except ModelNotFound:
        return desk.resolve(f"{desk.catalog.default.id}:{name}", caller)


def _job(desk: Desk, request: Asked, asked: GenerationRequest, model: Model, caller: Caller) -> Job:
    terms = desk.terms(request, caller, clamp_steps=True)
    return to_job(asked, model, desk.catalog, desk.settings, terms)


def _headers(job: Job, asked: GenerationRequest) -> dict[str, str]:
    """What was done otherwise than asked: fewer steps, another size."""
    headers = {}
    if asked.num_inference_steps and job.num_inference_steps < asked.num_inference_steps:
        headers["x-num-inference-steps"] = str(job.num_inference_steps)
    if job.output_size:
        headers["x-rendered-size"] = f"{job.width}x{job.height}"
    return headers


async def _item(desk: Desk, request: Asked, picture: Picture, form: str) -> DedicatedItem:
    raw = picture.format == "raw"
    data = base64_text(picture.data) if form != "url" else UNSET
    return DedicatedItem(
        seed=picture.seed,
        response_format=form,
        receipt=picture.receipt,
        url=await desk.keep(request, picture) if form == "url" else UNSET,
        b64_json=data,
        width=picture.width if raw else UNSET,
        height=picture.height if raw else UNSET,
        channels=picture.channels if raw else UNSET,
    )
