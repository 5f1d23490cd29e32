"""Routes of jobs: submitted, listed, read, watched, cancelled."""

import re
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import msgspec
from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from gateway.errors import Conflict, InvalidRequest, InvalidType, MissingParameter, NotFound
from gateway.outside.spelling import is_absent, whole
from gateway.outside.unread import unknown
from gateway.remarks import Remark, no_effect
from gateway.runs.graph.refusal import GraphRefused
from gateway.runs.listing import page
from gateway.runs.ordering import Wanted
from gateway.runs.records import Order, Run
from gateway.runs.runs import Runs
from gateway.web.comfyapi.assets import with_assets
from gateway.web.comfyapi.events import EVENTS, Streams, events_of
from gateway.web.comfyapi.objects import job_object, listed_object
from gateway.web.comfyui.prompts import asks_for_previews
from gateway.web.door.answers.schema import of_comfy_api
from gateway.web.door.asking import AnyRequest, Asker, Asking, House
from gateway.web.door.bodies.bodies import read_json, remembered

MAX_KEY_CHARACTERS = 255
MAX_LABELS = 16
MAX_LABEL_CHARACTERS = 256
PAGE_JOBS = 50
MAX_PAGE_JOBS = 100
Watching = NamedDependency[Streams]
_KEY = re.compile(rf"[\x20-\x7e]{{1,{MAX_KEY_CHARACTERS}}}")
_FILTER = re.compile(r"metadata\[(.*)\]", re.S)


class JobBody(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /jobs`; `extra_data` is for others' services, which are not asked here."""

    workflow: dict[str, Any]
    metadata: dict[str, str] | None = None
    extra_data: dict[str, Any] | None = None
    priority: Any = None


@post("/jobs", status_code=201, operation_class=of_comfy_api(JobBody, status=201))
async def submit(request: AnyRequest, runs: House, asker: Asking) -> Response[dict[str, Any]]:
    """Submit a workflow; the same again under one `Idempotency-Key` is one job."""
    given = await read_json(request)
    named, digest = named_by(request, asker.owner), remembered(request).digest
    run = await repeated(runs, named, digest, asker) if named else None
    if run is None:
        order = Order(
            base_url=asker.base_url,
            previews=_previews(given),
            keeps_temporary=True,
            remarks=_remarks(given),
            labels=_labels(given),
        )
        graph = await with_assets(_workflow(given), runs, asker)
        run = await _submitted(runs, Wanted(order=order, graph=graph), named, digest, asker)
    return Response(await job_object(runs, run, asker), status_code=201)


@get("/jobs", operation_class=of_comfy_api())
async def list_jobs(
    request: AnyRequest,
    runs: House,
    asker: Asking,
    limit: FromQuery[str] = "",
    cursor: FromQuery[str] = "",
) -> dict[str, Any]:
    """A key's jobs, newest first, those with all labels of the query's `metadata[name]=value`."""
    size = _count(limit, "limit", "invalid_request") if limit else PAGE_JOBS
    before = _count(cursor, "cursor", "invalid_cursor") if cursor else None
    size = min(size, MAX_PAGE_JOBS)
    asked = (runs.engine, asker.owner, before, size, _filter(request))
    found, after = await runs.ground.ask(page, *asked)
    listed: dict[str, Any] = {"jobs": [listed_object(run, asker) for run in found]}
    return listed if after is None else listed | {"next_cursor": str(after)}


@get("/jobs/{job_id:str}", operation_class=of_comfy_api())
async def get_job(runs: House, asker: Asking, job_id: FromPath[str]) -> dict[str, Any]:
    """A job as it stands."""
    return await job_object(runs, await existing(runs, job_id, asker), asker)


@get("/jobs/{job_id:str}/events", operation_class=of_comfy_api(None, EVENTS))
async def watch_job(
    runs: House, asker: Asking, watching: Watching, job_id: FromPath[str]
) -> Response[Any]:
    """What happens to a job from now on."""
    return events_of(runs, await existing(runs, job_id, asker), asker, watching)


@get("/jobs/{job_id:str}/workflow", operation_class=of_comfy_api())
async def get_workflow(runs: House, asker: Asking, job_id: FromPath[str]) -> dict[str, Any]:
    """The graph that a job was drawn by: its seeds settled, its assets found."""
    run = await existing(runs, job_id, asker)
    if run.order.graph is None:
        raise NotFound(f"Job {job_id} was not made of a workflow.")
    return {"workflow": run.order.graph, "format": "api"}


@post("/jobs/{job_id:str}/cancel", status_code=200, operation_class=of_comfy_api())
async def cancel_job(runs: House, asker: Asking, job_id: FromPath[str]) -> dict[str, Any]:
    """Stop a job at its next step; one that has ended stays as it is."""
    run = await existing(runs, job_id, asker)
    await runs.cancel(run.id)
    return await job_object(runs, await existing(runs, job_id, asker), asker)


async def existing(runs: Runs, job_id: str, asker: Asker) -> Run:
    """A job of this owner.

    Raises:
        NotFound: there is none, or it is another's.
    """
    run = await runs.get(job_id, asker.owner)
    if run is None:
        raise NotFound(f"There is no job {job_id}.")
    return run


def named_by(request: AnyRequest, owner: str) -> str | None:
    """The id of a job that its client can name before there is an answer.

    Raises:
        InvalidRequest: the name is none.
    """
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    if not _KEY.fullmatch(key):
        message = f"An Idempotency-Key has 1 to {MAX_KEY_CHARACTERS} printable characters of ASCII."
        raise InvalidRequest(message, param="Idempotency-Key")
    return str(uuid5(NAMESPACE_OID, f"{owner}\n{key}"))


async def repeated(runs: Runs, named: str, digest: str, asker: Asker) -> Run | None:
    """The job that the same request made before.

    Raises:
        InvalidRequest: it was another request.
    """
    run = await runs.get(named, asker.owner)
    if run is not None and run.order.digest != digest:
        raise InvalidRequest(
            "This Idempotency-Key was used with another request.", code="idempotency_key_reuse"
        )
    return run


async def accepted(
    runs: Runs, wanted: Wanted, named: str | None, digest: str, asker: Asker
) -> Run:
    """The job that a request makes, or made at the same moment."""
    if named:
        order = msgspec.structs.replace(wanted.order, digest=digest)
        wanted = msgspec.structs.replace(wanted, order=order)
    orders = await runs.ordering.orders(wanted, asker.owner, asker.permit, asker.count)
    try:
        (new,) = await runs.accept(orders, asker.owner, named)
    except Conflict:
        run = await repeated(runs, named, digest, asker) if named else None
        if run is None:
            raise  # somebody else has a job of that id
        return run
    return await existing(runs, new.id, asker)


async def _submitted(
    runs: Runs, wanted: Wanted, named: str | None, digest: str, asker: Asker
) -> Run:
    try:
        return await accepted(runs, wanted, named, digest, asker)
    except GraphRefused as error:
        if "nodes" in wanted.graph and "links" in wanted.graph:
            error.code = "workflow_format_ui"
        raise


def _workflow(given: dict[str, Any]) -> dict[str, Any]:
    workflow = given.get("workflow")
    if is_absent(workflow) or workflow == {}:
        raise MissingParameter("workflow")
    if not isinstance(workflow, dict):
        raise InvalidType("workflow", "an object", type(workflow).__name__)
    return workflow


def _previews(given: dict[str, Any]) -> bool:
    """Whether pictures are to be shown as they are drawn; said as ComfyUI's clients say it."""
    extra = given.get("extra_data")
    return isinstance(extra, dict) and asks_for_previews(extra)


def _labels(given: dict[str, Any]) -> dict[str, str]:
    """What a job is found by again.

    Raises:
        InvalidRequest: they are no labels.
    """
    labels = given.get("metadata")
    if is_absent(labels):
        return {}
    if not isinstance(labels, dict):
        raise InvalidRequest("metadata is a map of strings.", code="metadata_invalid")
    _check_labels(labels, "metadata_invalid")
    return labels


def _filter(request: AnyRequest) -> dict[str, str]:
    asked = [(_FILTER.fullmatch(name), value) for name, value in request.query_params.multi_items()]
    labels = {found[1]: value for found, value in asked if found}
    _check_labels(labels, "invalid_metadata_filter")
    return labels


def _check_labels(labels: dict[str, Any], code: str) -> None:
    if len(labels) > MAX_LABELS:
        message = f"There are {len(labels)} labels; up to {MAX_LABELS} are kept."
        raise InvalidRequest(message, param="metadata", code=code)
    for name, value in labels.items():
        if not isinstance(value, str) or not 1 <= len(name) <= MAX_LABEL_CHARACTERS >= len(value):
            raise InvalidRequest(
                f"A label and its value are strings of up to {MAX_LABEL_CHARACTERS} characters.",
                param=f"metadata.{name}",
                code=code,
            )


def _remarks(given: dict[str, Any]) -> tuple[Remark, ...]:
    """What is to be said of the body's fields."""
    said = [name for name, value in given.items() if not is_absent(value)]
    known = JobBody.__struct_fields__
    strange = unknown([name for name in said if name not in known], known)
    if "priority" in said:
        strange.append(no_effect("priority", "keys that ask at once have equal parts"))
    return tuple(strange)


def _count(text: str, param: str, code: str) -> int:
    try:
        count = whole(text)
    except ValueError:
        count = 0
    if not 1 <= count < 2**63:
        raise InvalidRequest(f"'{param}' is not one that was given.", param=param, code=code)
    return count


ROUTES = [submit, list_jobs, get_job, watch_job, get_workflow, cancel_job]
