"""Routes of files: uploads in both generations' ways, and the URLs that pictures are read at."""

import mimetypes
from contextlib import suppress
from functools import partial
from typing import Any

from litestar import Request, Response, get, post, put
from litestar.datastructures import UploadFile
from litestar.params import FromPath, FromQuery

from gateway.errors import Forbidden, InvalidRequest, MissingParameter, NotFound, TooLarge
from gateway.outside.spelling import whole
from gateway.runs.library.files import PREFIX
from gateway.runs.library.uploads import MAX_UPLOAD_BYTES
from gateway.runs.runs import Runs
from gateway.web.door.answers.schema import of_runs
from gateway.web.door.answers.spans import file_answer
from gateway.web.door.asking import Asking, House
from gateway.web.door.bodies.bodies import announced_bytes
from gateway.web.door.bodies.forms import read_form

AnyRequest = Request[Any, Any, Any]


@post(
    "/file/upload",
    status_code=200,
    request_max_body_size=MAX_UPLOAD_BYTES,
    operation_class=of_runs(),
)
async def upload(request: AnyRequest, runs: House, asker: Asking) -> dict[str, Any]:
    """Keep a file sent as multipart form data."""
    coming = min(announced_bytes(request) or MAX_UPLOAD_BYTES, MAX_UPLOAD_BYTES)
    async with runs.quota.room(asker.owner, coming) as room, read_form(request) as form:
        part = form.get("file")
        if not isinstance(part, UploadFile):
            raise InvalidRequest("The form has no part named 'file' with a file.", param="file")
        name = part.filename or "file"
        kind = content_type(name, part.content_type)
        file = await runs.uploads.keep(room, name, kind, part.file)
    return {
        "message": "File uploaded successfully",
        "file_id": file.id,
        "file_name": file.name,
        "file_url": asker.base_url + runs.files.path_of(file.key),
    }


@get("/upload-url", operation_class=of_runs())
async def upload_url(
    runs: House,
    asker: Asking,
    type: FromQuery[str] = "",
    file_size: FromQuery[str] = "0",
    file_extension: FromQuery[str] = "",
) -> dict[str, Any]:
    """A URL to PUT a file to, once and soon, and the one it will be read at.

    The file must have `file_size` bytes, if that says any.
    """
    if not type:
        raise MissingParameter("type")
    size = 0
    with suppress(ValueError):
        size = max(0, whole(file_size))
    if size > MAX_UPLOAD_BYTES:
        raise TooLarge(f"Files may have up to {MAX_UPLOAD_BYTES} bytes.")
    extension = file_extension.lstrip(".") or (mimetypes.guess_extension(type) or ".bin")[1:]
    file = await runs.uploads.promise(asker.owner, type, extension, size)
    return {
        "upload_url": asker.base_url + runs.files.path_of(file.key, "write"),
        "file_id": file.id,
        "download_url": asker.base_url + runs.files.path_of(file.key),
    }


@put(
    PREFIX + "{key:path}",
    status_code=200,
    request_max_body_size=MAX_UPLOAD_BYTES,
    operation_class=of_runs(),
)
async def put_file(
    request: AnyRequest, key: FromPath[str], sig: FromQuery[str] = ""
) -> dict[str, str]:
    """Take the bytes that an upload URL was given out for."""
    runs: Runs = request.app.state.runs
    key = key.lstrip("/")
    if not runs.files.is_signed("write", key, sig):
        raise Forbidden("This URL was not given out for uploading.")
    await runs.uploads.take(key, request.stream(), announced_bytes(request))
    return {"message": "File uploaded successfully"}


@get(PREFIX + "{key:path}", operation_class=of_runs(None, "*/*"))
async def get_file(
    request: AnyRequest, key: FromPath[str], sig: FromQuery[str] = ""
) -> Response[Any]:
    """A picture of a run, or an uploaded file. The signature stands in for a key."""
    runs: Runs = request.app.state.runs
    key = key.lstrip("/")
    if not runs.files.is_signed("read", key, sig):
        raise Forbidden("This URL's signature does not fit.")
    stored = await runs.files.open(key)
    if stored is None:
        raise NotFound("This file is gone.")
    reopen = partial(runs.files.open, key)
    return await file_answer(request, stored, reopen, "private, max-age=31536000, immutable")


def content_type(name: str, declared: str | None) -> str:
    """By the name: SDKs declare every file an octet stream."""
    guessed, _ = mimetypes.guess_type(name)
    return guessed or declared or "application/octet-stream"


ROUTES = [upload, upload_url]
PUBLIC_ROUTES = [put_file, get_file]
"""Opened by the signature in their URL, not by a key; outside `/api`."""
