"""Friendli's dialect: the dedicated endpoints, and the container on its own or the shared path."""

import time
from typing import Any

from litestar import Request, Response, post
from msgspec import UNSET

from gateway.accounts.limits import Caller
from gateway.catalog.catalog import Model
from gateway.errors import ModelNotFound
from gateway.intake import Terms, to_job
from gateway.job import Job
from gateway.outside.parameters import GenerationRequest, fold, read_request
from gateway.outside.unread import unread
from gateway.outside.values import convert
from gateway.studio import Format, Picture, Rendering
from gateway.web.door.answers.content import GAP, Content
from gateway.web.door.answers.schema import documented
from gateway.web.door.bodies.bodies import Asked, read_json
from gateway.web.door.bodies.controls import controlled
from gateway.web.door.desk import Desk, warnings_of
from gateway.web.friendli.wire import (
    ContainerImage,
    ContainerImageGenerationBody,
    DedicatedImageGenerationBody,
    DedicatedImages,
    DedicatedItem,
)

FORMATS: dict[str, Format] = {
    "url": "png",
    "raw": "raw",
    "png": "png",
    "jpeg": "jpeg",
    "jpg": "jpeg",
}
CONTAINER_PATHS = ["/container/v1/images/generations", "/container/images/generations"]


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
        caller = await desk.admit(request)
        given = await read_json(request)
        body = convert(fold(given), DedicatedImageGenerationBody)
        asked = read_request(given)
        model = desk.resolve(body.model, caller)
        job = to_job(asked, model, desk.catalog, desk.settings, terms(desk, request, caller, given))
        job = await controlled(job, given, model, desk, request)
        return await answer_dedicated(desk, request, caller, job, asked, body)

    @post(
        CONTAINER_PATHS,
        status_code=200,
        operation_class=documented(ContainerImageGenerationBody, ContainerImage),
        tags=["friendli"],
    )
    async def generate_container(request: Request[Any, Any, Any]) -> Response[Any]:
        """Draw one picture; Friendli's container."""
        caller = await desk.admit(request)
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

    async def respond(pictures: list[Picture]) -> Content:
        items = [await _item(desk, request, picture, form) for picture in pictures]
        answer = DedicatedImages(int(time.time()), items, warnings_of(pictures))
        return Content.of(answer, [picture.data for picture in pictures if form != "url"])

    headers = _headers(job, asked)
    return await desk.answer(request, caller, job, Rendering(FORMATS[form]), respond, headers)


async def answer_container(
    desk: Desk, request: Asked, caller: Caller, given: dict[str, Any]
) -> Response[Any]:
    """Draw from a prompt and answer as the container does."""
    body = convert(fold(given), ContainerImageGenerationBody)
    asked = read_request(given)
    model = container_model(desk, body.model, caller)
    job = to_job(asked, model, desk.catalog, desk.settings, terms(desk, request, caller, given))
    job = await controlled(job, given, model, desk, request)
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

    async def respond(pictures: list[Picture]) -> Content:
        first = pictures[0]
        answer = ContainerImage(
            image=GAP,
            seed=first.seed,
            response_format=form,
            width=first.width,
            height=first.height,
            channels=first.channels,
            warnings=warnings_of(pictures),
        )
        return Content.of(answer, [first.data])

    headers = _headers(job, asked)
    return await desk.answer(request, caller, job, Rendering(FORMATS[form]), respond, headers)


def container_model(desk: Desk, name: str | None, caller: Caller) -> Model:
    """A container serves one endpoint: a bare name is an adapter route of the default one."""
    try:
        return desk.resolve(name, caller)
    except ModelNotFound:
        return desk.resolve(f"{desk.catalog.default.id}:{name}", caller)


def terms(
    desk: Desk, request: Asked, caller: Caller, given: dict[str, Any], *, edits: bool = False
) -> Terms:
    """On what terms a request of this dialect is taken, with what is to be said of its fields."""
    remarks = unread(given, "response_format", edits=edits)
    return desk.terms(request, caller, remarks, clamp_steps=True)


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
    data = GAP if form != "url" else UNSET
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
