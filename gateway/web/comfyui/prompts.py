"""Prompts: queued, listed, interrupted, remembered."""

import uuid
from typing import Annotated, Any

import msgspec
from litestar import Request, get, post
from litestar.params import FromPath, FromQuery
from msgspec import Meta

from gateway.errors import InvalidRequest
from gateway.outside.spelling import is_absent, whole
from gateway.outside.values import convert
from gateway.remarks import Remark, no_effect
from gateway.runs.graph.order import narrowed
from gateway.runs.ordering import Wanted
from gateway.runs.records import Order
from gateway.runs.runs import Runs
from gateway.web.comfyui.faults import both
from gateway.web.comfyui.names import is_run_id
from gateway.web.comfyui.telling import history_entry, queue_entry, queue_status
from gateway.web.door.answers.schema import of_runs
from gateway.web.door.asking import Asker, Asking, House
from gateway.web.door.bodies.bodies import read_json_of_any_type

AnyRequest = Request[Any, Any, Any]
MAX_HISTORY = 200
"""Prompts that `/history` tells of without being asked for more or fewer."""

MAX_NAMED = 1000
NO_PREVIEWS = ("none", "default")
_TURNS = "prompts begin in the order they came, and keys take turns"


def asks_for_previews(extra_data: dict[str, Any]) -> bool:
    """Whether what comes beside a graph asks for pictures as they are drawn."""
    method = extra_data.get("preview_method")
    return isinstance(method, str) and method not in NO_PREVIEWS


class PromptBody(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /prompt`."""

    prompt: Any = None
    client_id: Annotated[str, Meta(max_length=200)] | None = None
    prompt_id: str | None = None
    extra_data: dict[str, Any] | None = None
    front: bool | None = None
    number: float | None = None
    partial_execution_targets: list[str] | None = None

    @property
    def previews(self) -> bool:
        """Whether pictures are to be shown as they are drawn."""
        return asks_for_previews(self.extra_data or {})

    def wanted(self, base_url: str) -> Wanted:
        """The request without its dialect.

        Raises:
            InvalidRequest: there is nothing to be drawn.
        """
        if not self.prompt:
            raise InvalidRequest("No prompt provided", code="no_prompt", param="prompt")
        asked = {"front": self.front, "number": self.number}
        order = Order(
            base_url=base_url,
            client_id=self.client_id,
            previews=self.previews,
            keeps_temporary=True,
            remarks=tuple(_idle(asked)),
        )
        graph = self.prompt
        if self.partial_execution_targets is not None:
            graph = narrowed(graph, self.partial_execution_targets)
        return Wanted(order=order, graph=graph)


class Choosing(msgspec.Struct, frozen=True, kw_only=True):
    """Which prompts of the queue or the history go: some, or all."""

    delete: Annotated[list[str], Meta(max_length=MAX_NAMED)] | None = None
    clear: bool | None = None


class Interrupting(msgspec.Struct, frozen=True):
    """Which prompt is interrupted; without one, all of the key's that run."""

    prompt_id: str | None = None


@post(both("/prompt"), status_code=200, operation_class=of_runs(PromptBody))
async def queue_prompt(request: AnyRequest, runs: House, asker: Asking) -> dict[str, Any]:
    """Queue a graph."""
    body = convert(await read_json_of_any_type(request), PromptBody)
    orders = await runs.ordering.orders(
        body.wanted(asker.base_url), asker.owner, asker.permit, asker.count
    )
    (new,) = await runs.accept(orders, asker.owner, _run_id(body.prompt_id))
    run = await runs.get(new.id, asker.owner)
    return {"prompt_id": new.id, "number": run.number if run else 0, "node_errors": {}}


@get(both("/prompt"), operation_class=of_runs())
async def get_status(runs: House, asker: Asking) -> dict[str, Any]:
    """How many prompts have not ended."""
    return queue_status(len(await runs.ground.ask(runs.history.open_ids, asker.owner)))


@get(both("/queue"), operation_class=of_runs())
async def get_queue(runs: House, asker: Asking) -> dict[str, Any]:
    """The prompts that run and those that wait."""
    found = await runs.ground.ask(runs.history.open, asker.owner)
    return {
        "queue_running": [queue_entry(run) for run in found if run.status != "queued"],
        "queue_pending": [queue_entry(run) for run in found if run.status == "queued"],
    }


@post(both("/queue"), status_code=200, operation_class=of_runs(Choosing))
async def change_queue(request: AnyRequest, runs: House, asker: Asking) -> None:
    """Take prompts that wait out of the queue; those that run go on."""
    body = convert(await read_json_of_any_type(request), Choosing)
    await _cancel(runs, asker, None if body.clear else body.delete or [], is_waiting=True)


@post(both("/interrupt"), status_code=200, operation_class=of_runs(Interrupting))
async def interrupt(request: AnyRequest, runs: House, asker: Asking) -> None:
    """Stop prompts that run, at their next step."""
    given = await read_json_of_any_type(request)
    body = convert(given, Interrupting)
    wanted = None if is_absent(body.prompt_id) else [str(body.prompt_id)]
    await _cancel(runs, asker, wanted, is_waiting=False)


@get(both("/history"), operation_class=of_runs())
async def get_history(runs: House, asker: Asking, max_items: FromQuery[str] = "") -> dict[str, Any]:
    """The latest prompts that have ended, the oldest of them first."""
    try:
        limit = MAX_HISTORY if is_absent(max_items) else max(0, whole(max_items))
    except ValueError:
        raise InvalidRequest("It is not a whole number.", param="max_items") from None
    found = await runs.ground.ask(runs.history.ended, asker.owner, limit)
    made = await runs.outputs(*(run.id for run in found))
    return {
        run.id: history_entry(run, (output for output in made if output.run_id == run.id))
        for run in reversed(found)
    }


@get(both("/history/{prompt_id:str}"), operation_class=of_runs())
async def get_prompt(runs: House, asker: Asking, prompt_id: FromPath[str]) -> dict[str, Any]:
    """A prompt that has ended; nothing of any other."""
    run = await runs.get(prompt_id, asker.owner)
    if run is None or not run.has_ended or run.order.graph is None:
        return {}
    return {run.id: history_entry(run, await runs.outputs(run.id))}


@post(both("/history"), status_code=200, operation_class=of_runs(Choosing))
async def change_history(request: AnyRequest, runs: House, asker: Asking) -> None:
    """Forget prompts that have ended, with their pictures."""
    body = convert(await read_json_of_any_type(request), Choosing)
    named = None if body.clear else body.delete or []
    await runs.forget(await runs.ground.ask(runs.history.ended_ids, asker.owner, named))


@post(both("/free"), status_code=200, operation_class=of_runs())
async def free_memory(asker: Asking) -> None:
    """Memory is the gateway's to give: nothing is freed for being asked."""


async def _cancel(runs: Runs, asker: Asker, ids: list[str] | None, *, is_waiting: bool) -> None:
    """End an owner's prompts among some, or of all; either those that wait or those that run."""
    for run in await runs.ground.ask(runs.history.open, asker.owner):
        found = runs.performer.live.fresh(run)
        is_meant = ids is None or run.id in ids
        if is_meant and (found.status == "queued") is is_waiting:
            await runs.cancel(run.id)


def _run_id(given: str | None) -> str | None:
    """The id that a client names a prompt by.

    Raises:
        InvalidRequest: it is none.
    """
    if is_absent(given):
        return None
    try:
        id = str(uuid.UUID(str(given)[:64]))
    except ValueError:
        id = ""
    if not is_run_id(id):
        raise InvalidRequest("The id of a prompt is a UUID.", param="prompt_id")
    return id


def _idle(asked: dict[str, Any]) -> list[Remark]:
    """What is to be said of places in the queue."""
    return [no_effect(name, _TURNS) for name, value in asked.items() if value]


ROUTES = [
    *(queue_prompt, get_status, get_queue, change_queue, interrupt),
    *(get_history, get_prompt, change_history, free_memory),
]
