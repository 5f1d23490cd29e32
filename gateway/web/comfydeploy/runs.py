"""Routes of runs: created in every mode, read, cancelled, a batch at once."""

import asyncio
from collections.abc import Iterable
from typing import Any

from litestar import Request, Response, get, post
from litestar.params import FromPath, FromQuery
from litestar.response import Stream

from gateway.errors import (
    FAILURES,
    Conflict,
    DeadlineExceeded,
    GenerationFailed,
    InvalidRequest,
    NotFound,
)
from gateway.outages import patiently
from gateway.runs.hooks.webhooks import webhook_status
from gateway.runs.records import Run, RunOutput
from gateway.runs.runs import Runs
from gateway.runs.store import NewRun
from gateway.runs.telling import output_object, run_object
from gateway.web.comfydeploy.stream import stream_of
from gateway.web.comfydeploy.wire import ReadBody, RunBody, run_body
from gateway.web.door.answers.schema import of_runs
from gateway.web.door.asking import Asker, Asking, House
from gateway.web.door.bodies.bodies import read_json_or_none
from gateway.web.door.desk import warning_headers

AnyRequest = Request[Any, Any, Any]
EVENTS = "text/event-stream"
LISTED_RUNS, MOST_LISTED = 20, 100
_TYPES = {"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp"}
RUN_OF_ANY_MODE = of_runs(RunBody, "application/json", EVENTS, *_TYPES.values())


@post("/run", status_code=200, operation_class=RUN_OF_ANY_MODE)
async def create_run(request: AnyRequest, runs: House, asker: Asking) -> Response[Any]:
    """Create a run of either generation's body, in the mode that it asks for."""
    body = await read_body(request)
    match body.execution_mode:
        case "sync":
            return await finished(runs, body, asker)
        case "sync_first_result":
            return await _first_picture(runs, body, asker)
        case "stream":
            return await streamed(runs, body, asker)
        case _:
            return Response(await queued(runs, body, asker))


@post(
    ["/run/queue", "/run/deployment/queue", "/run/workflow/queue"],
    status_code=200,
    operation_class=of_runs(RunBody),
)
async def queue_run(request: AnyRequest, runs: House, asker: Asking) -> dict[str, Any]:
    """Create a run and answer its id."""
    return await queued(runs, await read_body(request), asker)


@post(
    ["/run/sync", "/run/deployment/sync", "/run/workflow/sync"],
    status_code=200,
    operation_class=of_runs(RunBody),
)
async def sync_run(request: AnyRequest, runs: House, asker: Asking) -> Response[Any]:
    """Create a run and answer its outputs once it has ended."""
    return await finished(runs, await read_body(request), asker)


@post(
    ["/run/stream", "/run/deployment/stream", "/run/workflow/stream"],
    status_code=200,
    operation_class=of_runs(RunBody, EVENTS),
)
async def stream_run(request: AnyRequest, runs: House, asker: Asking) -> Stream:
    """Create a run and tell what happens to it."""
    return await streamed(runs, await read_body(request), asker)


@get("/run/{run_id:str}", operation_class=of_runs())
async def get_run(
    runs: House, asker: Asking, run_id: FromPath[str], queue_position: FromQuery[bool] = False
) -> dict[str, Any]:
    """A run as it stands."""
    return await told(runs, await existing(runs, run_id, asker), with_position=queue_position)


@get("/run", operation_class=of_runs())
async def get_run_by_query(
    runs: House, asker: Asking, run_id: FromQuery[str] = "", queue_position: FromQuery[bool] = False
) -> dict[str, Any]:
    """A run as it stands, for the first generation."""
    return await told(runs, await existing(runs, run_id, asker), with_position=queue_position)


@get("/runs", operation_class=of_runs())
async def list_runs(
    runs: House, asker: Asking, limit: FromQuery[int] = LISTED_RUNS
) -> list[dict[str, Any]]:
    """Your latest runs, newest first, up to a hundred; this gateway's own."""
    found = await runs.latest(asker.owner, min(max(limit, 1), MOST_LISTED))
    return await told_all(runs, found)


@get("/run/{run_id:str}/stream", operation_class=of_runs(None, EVENTS))
async def watch_run(runs: House, asker: Asking, run_id: FromPath[str]) -> Stream:
    """What happens to a run from now on: the URL that `stream: true` answers."""
    return stream_of(runs, await existing(runs, run_id, asker))


@get("/run/{run_id:str}/webhooks", operation_class=of_runs())
async def get_deliveries(runs: House, asker: Asking, run_id: FromPath[str]) -> list[dict[str, Any]]:
    """Every try to deliver a run's webhooks."""
    run = await existing(runs, run_id, asker)
    return [
        {
            "event_id": attempt.event_id,
            "attempt": attempt.attempt,
            "at": attempt.at,
            "seconds": round(attempt.seconds, 3),
            "http_status": attempt.http_status,
            "fault": attempt.fault,
            "delivered": attempt.delivered,
        }
        for attempt in await runs.attempts(run.id)
    ]


@post("/run/{run_id:str}/cancel", status_code=200, operation_class=of_runs())
async def cancel_run(runs: House, asker: Asking, run_id: FromPath[str]) -> dict[str, str]:
    """Stop a run at its next step; one that has ended stays as it is."""
    run = await existing(runs, run_id, asker)
    if await runs.cancel(run.id):
        return {"status": "success", "message": "Function cancelled"}
    return {"status": "success", "message": "The run had ended"}


@get("/batch/{batch_id:str}", operation_class=of_runs())
async def get_batch(runs: House, asker: Asking, batch_id: FromPath[str]) -> dict[str, Any]:
    """A batch: how many of its runs stand where, and each of them with its outputs."""
    found = await runs.batch(batch_id, asker.owner)
    if not found:
        raise NotFound(f"Batch {batch_id} not found")
    counts: dict[str, int] = {}
    for run in found:
        counts[run.status] = counts.get(run.status, 0) + 1
    return {
        "batch_id": batch_id,
        "total": len(found),
        "counts": counts,
        "progress": round(sum(run.progress for run in found) / len(found), 4),
        "runs": await told_all(runs, found),
    }


async def read_body(request: AnyRequest) -> ReadBody:
    """The body of a request; the first generation may send none."""
    return run_body(await read_json_or_none(request))


async def accepted(runs: Runs, body: ReadBody, asker: Asker, only: str = "") -> list[NewRun]:
    """The runs of a body, written down; `only` refuses a batch with its words."""
    wanted = body.wanted(asker.base_url)

    async def allow(num_runs: int) -> None:
        if only and num_runs > 1:
            raise InvalidRequest(f"{only}; queue the batch of {num_runs} runs instead.")
        await asker.count(num_runs)

    orders = await runs.ordering.orders(wanted, asker.owner, asker.permit, allow)
    return await runs.accept(orders, asker.owner)


async def queued(runs: Runs, body: ReadBody, asker: Asker) -> dict[str, Any]:
    """Create runs; every SDK reads `run_id` and ignores the rest."""
    new = await accepted(runs, body, asker)
    answer: dict[str, Any] = {"run_id": new[0].id}
    if new[0].batch_id is not None:
        ids = [run.id for run in new]
        answer |= {"status": "success", "batch_id": new[0].batch_id, "run_ids": ids}
    if body.stream:
        answer["stream_url"] = f"{asker.base_url}/api/run/{new[0].id}/stream"
    return answer


async def finished(runs: Runs, body: ReadBody, asker: Asker) -> Response[Any]:
    """Create runs, wait for them, and answer all their outputs, a run's newest first.

    Each says the warnings of its run: the answer is a list, and has no other place for them.

    Raises:
        GatewayError: one of them did not end well.
    """
    new = await accepted(runs, body, asker)
    ended = await asyncio.gather(*(runs.wait(run.id, asker.owner) for run in new))
    made = await patiently(lambda: runs.outputs(*(run.id for run in ended)), "database")
    for run in ended:
        check_success(run, made)
    outputs = [
        output_object(output, asker.base_url, runs.files) | {"warnings": run.notes}
        for run in ended
        for output in reversed(made)
        if output.run_id == run.id
    ]
    return Response(outputs, headers=warning_headers(note for run in ended for note in run.notes))


async def streamed(runs: Runs, body: ReadBody, asker: Asker) -> Stream:
    """Create a run and stream it; it goes on when nobody listens any more."""
    (new,) = await accepted(runs, body, asker, "A stream tells of one run")
    return stream_of(runs, await existing(runs, new.id, asker))


async def _first_picture(runs: Runs, body: ReadBody, asker: Asker) -> Response[bytes]:
    """The bytes of the first picture."""
    (new,) = await accepted(runs, body, asker, "sync_first_result answers one run")
    run = await runs.wait(new.id, asker.owner)
    made = await patiently(lambda: runs.outputs(new.id), "database")
    check_success(run, made)
    items = [item for output in made for item in output.items]
    data = await patiently(lambda: runs.files.get(items[0].key), "store") if items else None
    if data is None:
        raise InvalidRequest("No output found is matching, the run made no picture.")
    kind = _TYPES[items[0].filename.rpartition(".")[2]]
    headers = {"X-Run-Id": new.id} | warning_headers(run.notes)
    return Response(data, media_type=kind, headers=headers)


def check_success(run: Run, made: Iterable[RunOutput]) -> None:
    """Refuse to answer for a run that did not end well; `made` has the outputs of several.

    Raises:
        GatewayError: by how it ended.
    """
    message = f"Run {run.id} ended as {run.status}: {run.error or run.status}"
    for output in made:
        if output.run_id == run.id and output.refusal:
            raise FAILURES.get(output.refusal, InvalidRequest)(message, code=output.refusal)
    faults = {"failed": GenerationFailed, "timeout": DeadlineExceeded, "cancelled": Conflict}
    if run.status in faults:
        raise faults[run.status](message)


async def existing(runs: Runs, run_id: str, asker: Asker) -> Run:
    """A run of this owner.

    Raises:
        NotFound: there is none, or it is another's.
    """
    run = await runs.get(run_id, asker.owner)
    if run is None:
        raise NotFound("Run not found")
    return run


async def told(runs: Runs, run: Run, *, with_position: bool = False) -> dict[str, Any]:
    """A run with its outputs."""
    position = await runs.num_ahead(run) if with_position and run.status == "queued" else None
    states = await runs.webhook_states(run.id) if run.order.webhook else []
    outputs = [
        output_object(output, run.order.base_url, runs.files)
        for output in await runs.outputs(run.id)
    ]
    return run_object(run, outputs, webhook_status(states), position)


async def told_all(runs: Runs, found: list[Run]) -> list[dict[str, Any]]:
    """Many runs, their outputs read at once."""
    made = await runs.outputs(*(run.id for run in found))
    return [
        run_object(
            run,
            [
                output_object(output, run.order.base_url, runs.files)
                for output in made
                if output.run_id == run.id
            ],
            None,
            None,
        )
        for run in found
    ]


ROUTES = [
    create_run,
    queue_run,
    sync_run,
    stream_run,
    get_run,
    get_run_by_query,
    list_runs,
    watch_run,
    get_deliveries,
    cancel_run,
    get_batch,
]
