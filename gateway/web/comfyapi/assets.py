"""Routes of assets: uploaded, found by their bytes, read, deleted; and named in workflows."""

import re
from tempfile import SpooledTemporaryFile
from typing import IO, Any, cast

import msgspec
from litestar import Response, delete, get, post
from litestar.datastructures import UploadFile
from litestar.params import FromPath

from gateway.errors import Conflict, Forbidden, InvalidRequest, MissingParameter, NotFound
from gateway.outside.values import convert
from gateway.runs.graph.bounds import MAX_CARRIED
from gateway.runs.library.library import File
from gateway.runs.library.uploads import HASH, MAX_UPLOAD_BYTES
from gateway.runs.listing import is_awaited
from gateway.runs.runs import Runs
from gateway.web.comfyapi.objects import Asset, asset_object, asset_of
from gateway.web.door.answers.schema import of_comfy_api, of_comfy_form
from gateway.web.door.asking import AnyRequest, Asker, Asking, House
from gateway.web.door.bodies.bodies import announced_bytes, read_json
from gateway.web.door.bodies.forms import Form, read_form

REFERENCE = "core/ASSET"
MAX_NAME_CHARACTERS = 1024
ANYTHING = "application/octet-stream"
_HASH = re.compile(rf"{HASH}[0-9a-f]{{64}}")


class HashBody(msgspec.Struct, frozen=True):
    """`POST /assets/from-hash`."""

    hash: str
    file_path: str | None = None
    tags: Any = None


@post(
    "/assets",
    status_code=201,
    request_max_body_size=MAX_UPLOAD_BYTES,
    operation_class=of_comfy_form("content_type", "file_path", "expected_hash", "tags"),
)
async def upload(request: AnyRequest, runs: House, asker: Asking) -> Response[dict[str, Any]]:
    """Keep a file; the same bytes under the same name are one asset, which is kept anew."""
    coming = min(announced_bytes(request) or MAX_UPLOAD_BYTES, MAX_UPLOAD_BYTES)
    async with runs.quota.room(asker.owner, coming) as room, read_form(request) as form:
        part = form.get("file")
        if not isinstance(part, UploadFile):
            raise InvalidRequest("The form has no part named 'file' with a file.", param="file")
        name = _name(_text(form, "file_path") or part.filename or "file")
        kind = _text(form, "content_type") or part.content_type or ANYTHING
        file = await runs.uploads.describe(asker.owner, name, kind, part.file)
        expected = _text(form, "expected_hash").lower()
        if expected and expected != file.hash:
            message = f"The bytes are {file.hash}, and {expected[:80]} was expected."
            raise Conflict(message, param="expected_hash", code="hash_mismatch")
        is_new = await runs.library.file_of_id(file.id, asker.owner) is None
        await runs.uploads.keep_described(room, file, part.file)
    return await _created(runs, file, asker, is_new=is_new)


@get("/assets/by-hash/{hash:str}", operation_class=of_comfy_api())
async def find_by_hash(runs: House, asker: Asking, hash: FromPath[str]) -> dict[str, Any]:
    """The latest asset of some bytes; by HEAD, whether they need to be sent at all."""
    file = await _of_hash(runs, hash, asker)
    return asset_object(await _existing(runs, file.id, asker), runs, asker)


@post("/assets/from-hash", status_code=200, operation_class=of_comfy_api(HashBody))
async def from_hash(request: AnyRequest, runs: House, asker: Asking) -> Response[dict[str, Any]]:
    """An asset of bytes that are here already, under the name that is asked for."""
    body = convert(await read_json(request), HashBody)
    if not body.hash:
        raise MissingParameter("hash")
    known = await _of_hash(runs, body.hash, asker)
    name = _name(body.file_path or known.name)
    stored = await runs.files.open(known.key)
    if stored is None:
        raise _no_such_bytes()
    with SpooledTemporaryFile(max_size=2**20) as held:
        source = cast(IO[bytes], held)
        async with runs.quota.room(asker.owner, known.size_bytes) as room:
            async for piece in stored.pieces():
                await runs.library.in_thread(held.write, piece)
            held.seek(0)
            file = await runs.uploads.describe(asker.owner, name, known.content_type, source)
            await runs.uploads.keep_described(room, file, source)
    return await _created(runs, file, asker, is_new=False)


@get("/assets/{asset_id:str}", operation_class=of_comfy_api())
async def get_asset(runs: House, asker: Asking, asset_id: FromPath[str]) -> dict[str, Any]:
    """An asset, with a URL of its bytes."""
    return asset_object(await _existing(runs, asset_id, asker), runs, asker)


@get("/assets/{asset_id:str}/content", status_code=302, operation_class=of_comfy_api(status=302))
async def get_content(runs: House, asker: Asking, asset_id: FromPath[str]) -> Response[None]:
    """An asset's bytes, at a URL that needs no key and answers spans."""
    asset = await _existing(runs, asset_id, asker)
    place = asker.base_url + runs.files.path_of(asset.key)
    return Response(None, status_code=302, headers={"Location": place})


@delete("/assets/{asset_id:str}", status_code=204, operation_class=of_comfy_api(status=204))
async def delete_asset(runs: House, asker: Asking, asset_id: FromPath[str]) -> None:
    """Forget an uploaded asset, unless a job that has not ended is drawn from it."""
    asset = await _existing(runs, asset_id, asker)
    if asset.job_id is not None:
        raise Forbidden("A job's pictures are kept as long as the job.")
    for name in {asset.id, asset.name}:
        if await runs.ground.ask(is_awaited, runs.engine, asker.owner, name):
            raise Conflict("A job that has not ended is drawn from it.", code="asset_in_use")
    file = await runs.library.file_of_id(asset.id, asker.owner)
    if file is not None:
        await runs.uploads.forget(file)


async def with_assets(graph: dict[str, Any], runs: Runs, asker: Asker) -> dict[str, Any]:
    """A workflow with its references to assets as the names that nodes load files by.

    Raises:
        InvalidRequest: one is malformed, or there is no such asset.
    """
    places = [
        (id, name, value)
        for id, node in graph.items()
        if isinstance(node, dict) and isinstance(node.get("inputs"), dict)
        for name, value in node["inputs"].items()
        if isinstance(value, dict) and value.get("__type") == REFERENCE
    ]
    if not places:
        return graph
    ids = {_referred(value, f"workflow.{id}.inputs.{name}") for id, name, value in places}
    if len(ids) > MAX_CARRIED:
        raise _missing(f"The workflow names over {MAX_CARRIED} assets.", "workflow")
    names = {id: await _loaded_by(runs, id, asker) for id in ids}
    graph = dict(graph)
    for id, name, value in places:
        inputs = graph[id]["inputs"] | {name: names[value["info"]["id"]]}
        graph[id] = graph[id] | {"inputs": inputs}
    return graph


def _referred(value: dict[str, Any], param: str) -> str:
    info = value.get("info")
    asset_id = info.get("id") if isinstance(info, dict) else None
    if not isinstance(asset_id, str) or not asset_id:
        raise _missing("A reference to an asset has its id in info.id.", param)
    return asset_id


async def _loaded_by(runs: Runs, asset_id: str, asker: Asker) -> str:
    """What a node is told to load; a job's picture goes by its URL."""
    asset = await asset_of(runs, asset_id, asker.owner)
    if asset is None:
        raise _missing(f"There is no asset {asset_id[:100]}.", "workflow")
    if asset.job_id is None:
        return asset.id
    return asker.base_url + runs.files.path_of(asset.key)


def _missing(message: str, param: str) -> InvalidRequest:
    return InvalidRequest(message, param=param, code="missing_asset")


async def _existing(runs: Runs, asset_id: str, asker: Asker) -> Asset:
    asset = await asset_of(runs, asset_id, asker.owner)
    if asset is None:
        raise NotFound(f"There is no asset {asset_id}.")
    return asset


async def _of_hash(runs: Runs, hash: str, asker: Asker) -> File:
    hash = hash.strip().lower()
    file = await runs.library.file_of_hash(hash, asker.owner) if _HASH.fullmatch(hash) else None
    if file is None:
        raise _no_such_bytes()
    return file


def _no_such_bytes() -> NotFound:
    return NotFound("No uploaded file of this API key has these bytes.", code="blob_not_found")


async def _created(runs: Runs, file: File, asker: Asker, *, is_new: bool) -> Response[Any]:
    asset = await _existing(runs, file.id, asker)
    told = asset_object(asset, runs, asker) | {"created_new": is_new}
    return Response(told, status_code=201 if is_new else 200)


def _text(form: Form, name: str) -> str:
    value = form.get(name)
    return value.strip() if isinstance(value, str) else ""


def _name(name: str) -> str:
    if len(name) > MAX_NAME_CHARACTERS:
        message = f"A file's name has up to {MAX_NAME_CHARACTERS} characters."
        raise InvalidRequest(message, param="file_path")
    return name


ROUTES = [upload, find_by_hash, from_hash, get_asset, get_content, delete_asset]
