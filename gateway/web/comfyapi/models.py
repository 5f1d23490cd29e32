"""Comfy's model router under `/v2/models`: a model of the catalogue, awaited or queued."""

import hashlib
from contextlib import suppress
from typing import Any

import msgspec
from litestar import Response, Router, get, post, put
from litestar.params import FromPath, FromQuery

from gateway.catalog.catalog import Model
from gateway.errors import Conflict, InvalidRequest, ModelNotFound, NotFound
from gateway.outside.spelling import whole
from gateway.runs.ordering import Wanted
from gateway.runs.records import Order, Run
from gateway.runs.runs import Runs
from gateway.web.comfyapi.jobs import accepted, named_by, repeated
from gateway.web.comfyapi.objects import drawn_asset, made_by
from gateway.web.comfyapi.router_faults import PREFIX, number_header
from gateway.web.comfydeploy.models import model_inputs
from gateway.web.comfydeploy.runs import check_success
from gateway.web.door.answers.schema import of_comfy_router
from gateway.web.door.asking import AnyRequest, Ask, Asker, Asking, House, given
from gateway.web.door.bodies.bodies import read_json, remembered
from gateway.web.door.desk import warning_headers

PROVIDER = "local"
"""What models are listed under, whose ids have no provider of their own."""

PAGE_MODELS = 50
MAX_PAGE_MODELS = 100
WAIT_SECONDS = 1.0
STATUSES = {"not-started": "IN_QUEUE", "queued": "IN_QUEUE"}
_MODEL = "/{provider:str}/{model:str}"
_REQUEST = _MODEL + "/requests/{request_id:str}"


@get("/", operation_class=of_comfy_router())
async def list_models(
    request: AnyRequest,
    runs: House,
    asker: Asking,
    cursor: FromQuery[str] = "",
    limit: FromQuery[str] = "",
) -> Response[dict[str, Any]]:
    """The models that a key may use, some at a time."""
    start = _count(cursor, "cursor", 0)
    size = min(_count(limit, "limit", PAGE_MODELS) or 1, MAX_PAGE_MODELS)
    models = [model for model in runs.catalog.models() if asker.may(model)]
    has_more = start + size < len(models)
    page = {
        "data": [_listed(model) for model in models[start : start + size]],
        "has_more": has_more,
        "next_cursor": str(start + size) if has_more else None,
        "limit": size,
    }
    return _answer(request, page)


@get(_MODEL + "/openapi.json", operation_class=of_comfy_router())
async def get_schema(
    request: AnyRequest, runs: House, asker: Asking, provider: FromPath[str], model: FromPath[str]
) -> Response[Any]:
    """What a model takes and answers, as an OpenAPI document."""
    document = msgspec.json.encode(_document(_resolved(runs, provider, model, asker), runs))
    tag = f'"{hashlib.sha256(document).hexdigest()[:32]}"'
    if tag in request.headers.get("if-none-match", ""):
        return _answer(request, None, 304, {"ETag": tag})
    return _answer(request, msgspec.Raw(document), 200, {"ETag": tag})


@post(_MODEL, status_code=200, operation_class=of_comfy_router(takes=True))
async def run_model(
    request: AnyRequest, runs: House, asker: Asking, provider: FromPath[str], model: FromPath[str]
) -> Response[Any]:
    """Draw and answer the pictures; the same again under one key is drawn once."""
    run = await _requested(request, runs, asker, provider, model)
    run = await runs.wait(run.id, asker.owner)
    check_success(run, await made_by(runs, run))
    return _answer(request, await _result(runs, run, asker), 200, warning_headers(run.notes))


@post(_MODEL + "/requests", status_code=202, operation_class=of_comfy_router(202, takes=True))
async def submit(
    request: AnyRequest, runs: House, asker: Asking, provider: FromPath[str], model: FromPath[str]
) -> Response[Any]:
    """Queue a request and answer its id."""
    run = await _requested(request, runs, asker, provider, model)
    place = f"{asker.base_url}{PREFIX}/{provider}/{model}/requests/{run.id}"
    told = await _status(runs, run)
    places = {
        "status_url": f"{place}/status",
        "response_url": place,
        "cancel_url": f"{place}/cancel",
    }
    return _answer(request, told | places, 202)


@get(_REQUEST + "/status", operation_class=of_comfy_router())
async def get_status(
    request: AnyRequest, runs: House, asker: Asking, request_id: FromPath[str]
) -> Response[Any]:
    """Where a request stands; one that failed is completed, and says how."""
    return _answer(request, await _status(runs, await _existing(runs, request_id, asker)))


@get(_REQUEST, operation_class=of_comfy_router())
async def get_result(
    request: AnyRequest, runs: House, asker: Asking, request_id: FromPath[str]
) -> Response[Any]:
    """What a request came to."""
    run = await _existing(runs, request_id, asker)
    if not run.has_ended:
        raise Conflict("The request is not completed yet.", retry_after_seconds=WAIT_SECONDS)
    if run.status != "success":
        return _answer(request, await _status(runs, run))
    return _answer(request, await _result(runs, run, asker), 200, warning_headers(run.notes))


@put(_REQUEST + "/cancel", status_code=202, operation_class=of_comfy_router(202))
async def cancel(
    request: AnyRequest, runs: House, asker: Asking, request_id: FromPath[str]
) -> Response[Any]:
    """Stop a request at its next step."""
    run = await _existing(runs, request_id, asker)
    if await runs.cancel(run.id):
        return _answer(request, {"status": "CANCELLATION_REQUESTED"}, 202)
    told = {"status": "ALREADY_COMPLETED", "detail": "The request had been completed."}
    return _answer(request, told, 409)


def router(ask: Ask) -> Router:
    """The routes under `/v2/models`."""
    handlers = [list_models, get_schema, run_model, submit, get_status, get_result, cancel]
    return Router(PREFIX, route_handlers=handlers, dependencies=given(ask), tags=["Comfy Router"])


async def _requested(
    request: AnyRequest, runs: Runs, asker: Asker, provider: str, name: str
) -> Run:
    """The run that a request makes, or has made before."""
    inputs = await read_json(request)
    model = _resolved(runs, provider, name, asker)
    named, digest = named_by(request, asker.owner), remembered(request).digest
    if named and (run := await repeated(runs, named, digest, asker)):
        return run
    wanted = Wanted(order=Order(base_url=asker.base_url), model_id=model.pinned_id, inputs=inputs)
    return await accepted(runs, wanted, named, digest, asker)


def _resolved(runs: Runs, provider: str, name: str, asker: Asker) -> Model:
    """The model of an id or an alias, with its provider or without.

    Raises:
        NotFound: there is none.
        Forbidden: the key may not use it.
    """
    for id in (f"{provider}/{name}", name):
        with suppress(ModelNotFound):
            model = runs.catalog.resolve(id)
            asker.permit(model)
            return model
    raise NotFound(f"There is no model {provider}/{name}; GET {PREFIX} lists those there are.")


async def _existing(runs: Runs, request_id: str, asker: Asker) -> Run:
    run = await runs.get(request_id, asker.owner)
    if run is None:
        raise NotFound(f"There is no request {request_id}.", code="request_not_found")
    return run


async def _status(runs: Runs, run: Run) -> dict[str, Any]:
    status = "COMPLETED" if run.has_ended else STATUSES.get(run.status, "IN_PROGRESS")
    ahead = await runs.num_ahead(run) if run.status == "queued" else None
    told: dict[str, Any] = {"request_id": run.id, "status": status, "queue_position": ahead}
    if not run.has_ended or run.status == "success":
        return told
    refused = any(output.refusal for output in await made_by(runs, run))
    kinds = {"cancelled": "cancelled", "timeout": "deadline_exceeded"}
    kind = kinds.get(run.status, "invalid_input" if refused else "internal_error")
    return told | {"error_type": kind, "detail": run.error or run.status}


async def _result(runs: Runs, run: Run, asker: Asker) -> dict[str, Any]:
    """The pictures' URLs, as OpenAI's answers have them."""
    data = [
        {
            "url": asker.base_url + runs.files.path_of(item.key),
            "content_type": drawn_asset(output, item).content_type,
            "width": item.width,
            "height": item.height,
            "seed": item.seed,
        }
        for output in await made_by(runs, run)
        for item in output.items
    ]
    warnings = msgspec.to_builtins(run.notes)
    return {"created": int(run.created_at), "data": data, "warnings": warnings}


def _listed(model: Model) -> dict[str, Any]:
    id = model.id if "/" in model.id else f"{PROVIDER}/{model.id}"
    provider, _, name = id.partition("/")
    return {"id": id, "provider": provider, "model": name, "billing": {}}


def _document(model: Model, runs: Runs) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for one in model_inputs(model, runs.catalog):
        said = {"type": "number" if one.type == "float" else one.type, "default": one.default_value}
        limits = {"minimum": one.min_value, "maximum": one.max_value, "enum": one.enum_options}
        fields[one.input_id] = said | {name: at for name, at in limits.items() if at is not None}
    asked = {"type": "object", "properties": fields, "required": ["prompt"]}
    drawn = {"type": "object", "properties": {"url": {"type": "string"}}}
    data = {"type": "array", "items": drawn}
    answer = {"type": "object", "properties": {"data": data}}
    operation = {
        "requestBody": {"required": True, "content": {"application/json": {"schema": asked}}},
        "responses": {
            "200": {"description": "Drawn.", "content": {"application/json": {"schema": answer}}}
        },
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": model.id, "version": "1"},
        "paths": {f"{PREFIX}/{_listed(model)['id']}": {"post": operation}},
    }


def _answer(
    request: AnyRequest, body: Any, status: int = 200, headers: dict[str, str] | None = None
) -> Response[Any]:
    headers = number_header(request.scope) | (headers or {})
    return Response(body, status_code=status, headers=headers)


def _count(text: str, param: str, default: int) -> int:
    if not text:
        return default
    try:
        count = whole(text)
    except ValueError:
        count = -1
    if not 0 <= count < 2**31:
        raise InvalidRequest(f"'{param}' is not one that was given.", param=param)
    return count
