"""OpenAI's Batch API: many image requests at once, answered when nobody waits for others."""

from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, get, post
from litestar.params import FromPath, FromQuery
from msgspec import Meta

from gateway.errors import InvalidValue
from gateway.outside.values import convert
from gateway.runs.batches.batches import new_batch
from gateway.runs.batches.records import Batch, Fault, Spent, Status
from gateway.web.door.addresses import public_base
from gateway.web.door.answers.schema import documented, refusals
from gateway.web.door.bodies.bodies import read_json
from gateway.web.door.desk import Desk
from gateway.web.openai.files import EXPIRY_SECONDS, ends, page_size, runs_of

AnyRequest = Request[Any, Any, Any]
ENDPOINTS = ("/v1/images/generations", "/v1/images/edits")
MAX_PAGE = 100
Metadata = dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=512)]]


class OutputExpiry(msgspec.Struct, frozen=True, kw_only=True):
    """When the files of the answers go: so many seconds after they are written."""

    seconds: Annotated[int, Meta(ge=EXPIRY_SECONDS[0], le=EXPIRY_SECONDS[1])]
    anchor: Literal["created_at"]


class BatchBody(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /v1/batches`; the file is one uploaded with purpose batch."""

    input_file_id: str
    endpoint: Annotated[str, Meta(description=" or ".join(ENDPOINTS))]
    completion_window: str
    metadata: Annotated[Metadata, Meta(max_length=16)] | None = None
    output_expires_after: OutputExpiry | None = None


class BatchFaults(msgspec.Struct, frozen=True):
    """Everything that is wrong with the input file."""

    data: tuple[Fault, ...]
    object: Literal["list"] = "list"


class RequestCounts(msgspec.Struct, frozen=True):
    """How many lines there are, and what became of them."""

    total: int
    completed: int
    failed: int


class InputTokens(msgspec.Struct, frozen=True):
    """How the input splits; nothing of it is charged less."""

    cached_tokens: int = 0


class OutputTokens(msgspec.Struct, frozen=True):
    """How the output splits."""

    reasoning_tokens: int = 0


class BatchUsage(msgspec.Struct, frozen=True):
    """The sum of what its answers took so far."""

    input_tokens: int
    output_tokens: int
    total_tokens: int
    input_tokens_details: InputTokens = InputTokens()
    output_tokens_details: OutputTokens = OutputTokens()

    @classmethod
    def of(cls, spent: Spent) -> "BatchUsage":
        """The wire form of it."""
        return cls(spent.read, spent.made, spent.read + spent.made)


class BatchObject(msgspec.Struct, frozen=True, kw_only=True):
    """A batch; times are whole seconds since the epoch."""

    id: str
    object: Literal["batch"] = "batch"
    endpoint: str
    errors: BatchFaults | None
    input_file_id: str
    completion_window: str
    status: Status
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None
    expires_at: int | None
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: RequestCounts
    metadata: dict[str, str] | None
    model: str | None
    usage: BatchUsage

    @classmethod
    def of(cls, batch: Batch) -> "BatchObject":
        """The wire form of a batch."""
        facts = msgspec.structs.asdict(batch)
        named = {name: facts[name] for name in cls.__struct_fields__ if name in facts}
        times = {
            name: None if value is None else int(value)
            for name, value in named.items()
            if name.endswith("_at")
        }
        return cls(
            **named | times,
            errors=BatchFaults(batch.faults) if batch.faults else None,
            request_counts=RequestCounts(batch.num_lines, batch.num_completed, batch.num_failed),
            usage=BatchUsage.of(batch.spent),
        )


class BatchList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of batches."""

    data: list[BatchObject]
    has_more: bool
    first_id: str | None
    last_id: str | None
    object: Literal["list"] = "list"


def routes(desk: Desk) -> list[Any]:
    """The route handlers."""

    @post(
        "/v1/batches",
        status_code=200,
        operation_class=documented(BatchBody, BatchObject),
        tags=["batches"],
    )
    async def create_batch(request: AnyRequest) -> BatchObject:
        """Have the requests of a file answered within a day."""
        caller = await desk.admit(request)
        body = convert(await read_json(request), BatchBody)
        if body.endpoint not in ENDPOINTS:
            supported = ", ".join(f"'{endpoint}'" for endpoint in ENDPOINTS)
            raise InvalidValue("endpoint", body.endpoint, supported)
        if body.completion_window != "24h":
            raise InvalidValue("completion_window", body.completion_window, "'24h'")
        batches = runs_of(request).batches
        file = await batches.file(body.input_file_id, caller.id)
        if file.purpose != "batch":
            raise InvalidValue("purpose", file.purpose, "'batch'")
        base = public_base(request, desk.settings)
        expiry = body.output_expires_after
        kept_seconds = expiry.seconds if expiry else None
        batch = new_batch(caller.id, body.endpoint, file, base, body.metadata, kept_seconds)
        await batches.begin(batch)
        return BatchObject.of(batch)

    @get("/v1/batches", responses=refusals(), tags=["batches"])
    async def list_batches(
        request: AnyRequest,
        after: FromQuery[str | None] = None,
        limit: FromQuery[int] = 20,
    ) -> BatchList:
        """Your batches, newest first."""
        caller = desk.door.identify(request)
        size = page_size(limit, MAX_PAGE)
        found, has_more = await runs_of(request).batches.page(caller.id, after=after, limit=size)
        data = [BatchObject.of(batch) for batch in found]
        first, last = ends(batch.id for batch in found)
        return BatchList(data=data, has_more=has_more, first_id=first, last_id=last)

    @get("/v1/batches/{batch_id:str}", responses=refusals(404), tags=["batches"])
    async def get_batch(request: AnyRequest, batch_id: FromPath[str]) -> BatchObject:
        """How a batch stands."""
        caller = desk.door.identify(request)
        return BatchObject.of(await runs_of(request).batches.get(batch_id, caller.id))

    @post(
        "/v1/batches/{batch_id:str}/cancel",
        status_code=200,
        responses=refusals(404, 409),
        tags=["batches"],
    )
    async def cancel_batch(request: AnyRequest, batch_id: FromPath[str]) -> BatchObject:
        """Stop a batch; what is answered by then can be read."""
        caller = await desk.admit(request)
        return BatchObject.of(await runs_of(request).batches.cancel(batch_id, caller.id))

    return [create_batch, list_batches, get_batch, cancel_batch]
