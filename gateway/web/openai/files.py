"""OpenAI's Files API: what batches are read from and answered in."""

import time
from collections.abc import Iterable
from io import SEEK_END
from typing import Any, Literal

import msgspec
from litestar import Request, Response, delete, get, post
from litestar.datastructures import UploadFile
from litestar.params import FromPath, FromQuery
from litestar.response import Stream
from msgspec import UNSET, UnsetType

from gateway.errors import InvalidType, InvalidValue, MissingParameter, OutOfRange, TooLarge
from gateway.outside.spelling import is_absent, whole
from gateway.runs.batches.records import KeptFile
from gateway.runs.library.quota import Room
from gateway.runs.runs import Runs
from gateway.web.door.answers.schema import documented_form, refusals
from gateway.web.door.bodies.bodies import announced_bytes
from gateway.web.door.bodies.forms import Form, read_form
from gateway.web.door.desk import Desk

AnyRequest = Request[Any, Any, Any]
MAX_FILE_BYTES = 200 * 2**20
FORM_BYTES = 2**20
"""Room for what a form has beside its file."""

PURPOSES = ("batch", "vision", "user_data", "assistants", "fine-tune", "evals")
EXPIRY_SECONDS = (3600, 2_592_000)
MAX_PAGE = 10_000


class FileObject(msgspec.Struct, frozen=True, kw_only=True):
    """A file; times are whole seconds since the epoch."""

    id: str
    bytes: int
    created_at: int
    filename: str
    purpose: str
    object: Literal["file"] = "file"
    expires_at: int | UnsetType = UNSET
    status: Literal["processed"] = "processed"
    status_details: None = None

    @classmethod
    def of(cls, file: KeptFile) -> "FileObject":
        """The wire form of a file."""
        return cls(
            id=file.id,
            bytes=file.size_bytes,
            created_at=int(file.created_at),
            filename=file.name,
            purpose=file.purpose,
            expires_at=UNSET if file.expires_at is None else int(file.expires_at),
        )


class FileDeleted(msgspec.Struct, frozen=True):
    """What remains of a deleted file."""

    id: str
    object: Literal["file"] = "file"
    deleted: bool = True


class FileList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of files."""

    data: list[FileObject]
    has_more: bool
    first_id: str | None
    last_id: str | None
    object: Literal["list"] = "list"


class FileUpload(msgspec.Struct, frozen=True, kw_only=True):
    """The form of an upload, beside the file itself."""

    purpose: str


def routes(desk: Desk) -> list[Any]:
    """The route handlers; the application keeps its `Runs` in `state.runs`."""

    @post(
        "/v1/files",
        status_code=200,
        request_max_body_size=MAX_FILE_BYTES + FORM_BYTES,
        operation_class=documented_form(FileUpload, FileObject),
        tags=["batches"],
    )
    async def upload_file(request: AnyRequest) -> FileObject:
        """Keep a file; `purpose` batch for the requests of a batch, as JSON lines."""
        caller = await desk.admit(request)
        coming = min(announced_bytes(request) or MAX_FILE_BYTES, MAX_FILE_BYTES)
        runs = runs_of(request)
        async with runs.quota.room(caller.id, coming) as room, read_form(request) as form:
            return FileObject.of(await _kept(runs, form, room))

    @get("/v1/files", responses=refusals(), tags=["batches"])
    async def list_files(
        request: AnyRequest,
        purpose: FromQuery[str | None] = None,
        after: FromQuery[str | None] = None,
        limit: FromQuery[int] = MAX_PAGE,
        order: FromQuery[str] = "desc",
    ) -> FileList:
        """Your files, newest first unless `order` is asc."""
        caller = desk.door.identify(request)
        found, has_more = await runs_of(request).batches.files_of(
            caller.id,
            purpose=purpose,
            after=after,
            limit=page_size(limit, MAX_PAGE),
            newest_first=order.lower() != "asc",
        )
        data = [FileObject.of(file) for file in found]
        first, last = ends(file.id for file in found)
        return FileList(data=data, has_more=has_more, first_id=first, last_id=last)

    @get("/v1/files/{file_id:str}", responses=refusals(404), tags=["batches"])
    async def get_file(request: AnyRequest, file_id: FromPath[str]) -> FileObject:
        """What is known of a file."""
        caller = desk.door.identify(request)
        return FileObject.of(await runs_of(request).batches.file(file_id, caller.id))

    @get(
        "/v1/files/{file_id:str}/content",
        media_type="application/octet-stream",
        responses=refusals(404),
        tags=["batches"],
    )
    async def get_content(request: AnyRequest, file_id: FromPath[str]) -> Response[Any]:
        """The bytes of a file."""
        caller = desk.door.identify(request)
        batches = runs_of(request).batches
        file = await batches.file(file_id, caller.id)
        return Stream(
            (await batches.open(file)).pieces(),
            media_type="application/octet-stream",
            headers={
                "Content-Length": str(file.size_bytes),
                "X-Content-Type-Options": "nosniff",
                "Content-Disposition": "attachment",
            },
        )

    @delete("/v1/files/{file_id:str}", status_code=200, responses=refusals(404), tags=["batches"])
    async def delete_file(request: AnyRequest, file_id: FromPath[str]) -> FileDeleted:
        """Forget a file at once."""
        caller = await desk.admit(request)
        batches = runs_of(request).batches
        file = await batches.file(file_id, caller.id)
        await batches.delete_file(file)
        return FileDeleted(file.id)

    return [upload_file, list_files, get_file, get_content, delete_file]


async def _kept(runs: Runs, form: Form, room: Room) -> KeptFile:
    """The file of a form, kept."""
    part, purpose = form.get("file"), form.get("purpose")
    if is_absent(part):
        raise MissingParameter("file")
    if not isinstance(part, UploadFile):
        raise InvalidType("file", "a file", type(part).__name__)
    if is_absent(purpose):
        raise MissingParameter("purpose")
    purpose = str(purpose).strip().lower()
    if purpose not in PURPOSES:
        supported = ", ".join(f"'{name}'" for name in PURPOSES)
        raise InvalidValue("purpose", purpose, supported)
    if part.file.seek(0, SEEK_END) > MAX_FILE_BYTES:
        raise TooLarge(f"Files may have up to {MAX_FILE_BYTES >> 20} MiB.")
    expires_at = _expiry(form.get("expires_after[seconds]"))
    name = part.filename or "file"
    return await runs.batches.keep_file(room, name, purpose, part.file, expires_at)


def runs_of(request: AnyRequest) -> Runs:
    """The application's durable things."""
    runs: Runs = request.app.state.runs
    return runs


def ends(ids: Iterable[str]) -> tuple[str | None, str | None]:
    """The first and the last id of a page, None where it is empty."""
    page = list(ids)
    return (page[0], page[-1]) if page else (None, None)


def page_size(limit: int, maximum: int) -> int:
    """A page's size as asked for.

    Raises:
        OutOfRange: it is below 1 or above the maximum.
    """
    if not 1 <= limit <= maximum:
        above = limit > maximum
        raise OutOfRange("limit", "integer", maximum if above else 1, limit, above=above)
    return limit


def _expiry(seconds: Any) -> float | None:
    """When a file goes, as `expires_after[seconds]` of its form says."""
    if is_absent(seconds):
        return None
    try:
        after = whole(seconds)
    except ValueError:
        param = "expires_after[seconds]"
        raise InvalidType(param, "an integer", type(seconds).__name__) from None
    low, high = EXPIRY_SECONDS
    if not low <= after <= high:
        above = after > high
        bound = high if above else low
        raise OutOfRange("expires_after[seconds]", "integer", bound, after, above=above)
    return time.time() + after
