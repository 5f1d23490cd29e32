"""Pictures: uploaded to draw from, and looked at."""

import re
from typing import Any

import msgspec
from litestar import Request, Response, get, post
from litestar.datastructures import UploadFile
from litestar.params import FromQuery
from litestar.response import Stream
from PIL import Image

from gateway.errors import InvalidRequest, NotFound
from gateway.images.decode import decode, on_white, to_pixels
from gateway.images.encode import encode
from gateway.outside.documents import decode_json
from gateway.outside.values import convert
from gateway.runs.library.sources import MAX_BYTES
from gateway.runs.library.uploads import MAX_UPLOAD_BYTES
from gateway.runs.records import Run
from gateway.runs.runs import Runs
from gateway.web.comfyui.faults import both
from gateway.web.comfyui.names import made_by, numbered, upload_name
from gateway.web.door.answers.schema import of_runs
from gateway.web.door.answers.stored import sniffed, streamed
from gateway.web.door.asking import Asker, Asking, House
from gateway.web.door.bodies.bodies import announced_bytes
from gateway.web.door.bodies.forms import Form, read_form

AnyRequest = Request[Any, Any, Any]
MAX_NAMESAKES = 100
MAX_NAME_CHARACTERS = 500
_PREVIEW = re.compile(r"(webp|jpeg)?(?:;([0-9]{1,3}))?")
"""What `preview` asks for: a format, and how good it is."""


class Reference(msgspec.Struct, frozen=True):
    """A picture by the names that `/view` knows it by."""

    filename: str
    subfolder: str = ""
    type: str = "input"


@post(
    both("/upload/image"),
    status_code=200,
    request_max_body_size=MAX_UPLOAD_BYTES,
    operation_class=of_runs(),
)
async def upload_image(request: AnyRequest, runs: House, asker: Asking) -> dict[str, str]:
    """Keep a picture to draw from."""
    return await _uploaded(request, runs, asker, is_mask=False)


@post(
    both("/upload/mask"),
    status_code=200,
    request_max_body_size=MAX_UPLOAD_BYTES,
    operation_class=of_runs(),
)
async def upload_mask(request: AnyRequest, runs: House, asker: Asking) -> dict[str, str]:
    """Keep a picture that is known already, with what is painted over it transparent."""
    return await _uploaded(request, runs, asker, is_mask=True)


@get(both("/view"), operation_class=of_runs(None, "*/*"))
async def view(
    runs: House,
    asker: Asking,
    filename: FromQuery[str] = "",
    subfolder: FromQuery[str] = "",
    preview: FromQuery[str] = "",
    channel: FromQuery[str] = "",
) -> Response[Any] | Stream:
    """A picture that a prompt made, or that was uploaded; its name tells which, not `type`."""
    reference = Reference(filename, subfolder)
    if not preview and channel not in ("rgb", "a"):
        stored = await _stored(runs, asker, reference)
        return streamed(stored, "private, no-cache")
    data = await _bytes(runs, asker, reference)
    shown = await runs.sources.darkroom.do(_shown, data, preview, channel)
    return Response(shown, media_type=sniffed(shown))


async def _uploaded(
    request: AnyRequest, runs: Runs, asker: Asker, *, is_mask: bool
) -> dict[str, str]:
    coming = min(announced_bytes(request) or MAX_UPLOAD_BYTES, MAX_UPLOAD_BYTES)
    async with runs.quota.room(asker.owner, coming) as room, read_form(request) as form:
        part = form.get("image")
        if not isinstance(part, UploadFile):
            raise InvalidRequest("The form has no part named 'image' with a file.", param="image")
        subfolder = _text(form, "subfolder")
        name = upload_name(part.filename or "image.png", subfolder)
        if not name or len(name) > MAX_NAME_CHARACTERS:
            raise InvalidRequest("The file's name is empty or too long.", param="image")
        if is_mask:
            await _cut(part, await _masked(form, runs, asker), runs)
        kind = sniffed(part.file.read(16))
        file = await runs.uploads.keep_beside(
            room,
            [name, *(numbered(name, number) for number in range(1, MAX_NAMESAKES))],
            kind,
            part.file,
            replaces=_text(form, "overwrite") in ("true", "1"),
        )
    folder, _, short = file.name.rpartition("/")
    return {"name": short, "subfolder": folder, "type": _text(form, "type") or "input"}


async def _masked(form: Form, runs: Runs, asker: Asker) -> bytes:
    """The picture that a mask belongs to."""
    given = decode_json(_text(form, "original_ref").encode() or b"null")
    return await _bytes(runs, asker, convert(given, Reference))


async def _cut(part: UploadFile, original: bytes, runs: Runs) -> None:
    """Put the picture in a mask's place, with the mask's transparency."""
    data = await part.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise InvalidRequest(f"The mask has over {MAX_BYTES >> 20} MiB.", param="image")
    made = await runs.sources.darkroom.do(_with_alpha, original, data)
    await part.seek(0)
    part.file.truncate()
    await part.write(made)
    await part.seek(0)


def _with_alpha(original: bytes, mask: bytes) -> bytes:
    picture = decode(original, "original_ref").convert("RGBA")
    alpha = decode(mask, "image").convert("RGBA").getchannel("A")
    picture.putalpha(alpha if alpha.size == picture.size else alpha.resize(picture.size))
    return encode(to_pixels(picture), "png")


async def _stored(runs: Runs, asker: Asker, reference: Reference) -> Any:
    """What is named, to be read piece by piece.

    Raises:
        NotFound: there is nothing of this name, or it is another key's.
    """
    key = None
    if made := made_by(reference.filename):
        run: Run | None = await runs.get(made.run_id, asker.owner)
        key = f"runs/{run.id}/{made.filename}" if run and "/" not in made.filename else None
    else:
        name = upload_name(reference.filename, reference.subfolder)
        file = await runs.library.file(name, asker.owner)
        key = file.key if file else None
    stored = await runs.files.open(key) if key else None
    if stored is None:
        raise NotFound("There is no such picture.", param="filename")
    return stored


async def _bytes(runs: Runs, asker: Asker, reference: Reference) -> bytes:
    """All of what is named, to be decoded."""
    stored = await _stored(runs, asker, reference)
    if stored.size_bytes > MAX_BYTES:
        raise InvalidRequest(f"The picture has over {MAX_BYTES >> 20} MiB.", param="filename")
    data: bytes = await stored.whole()
    return data


def _shown(data: bytes, preview: str, channel: str) -> bytes:
    """A picture in another format, or one part of its channels, as ComfyUI shows them."""
    picture = decode(data, "filename")
    if channel == "rgb":
        picture = picture.convert("RGB")
    if channel == "a":
        alpha = picture.convert("RGBA").getchannel("A")
        picture = Image.new("RGBA", picture.size)
        picture.putalpha(alpha)
    if not preview:
        return encode(to_pixels(picture), "png")
    asked = _PREVIEW.fullmatch(preview)
    quality = min(100, max(1, int((asked and asked[2]) or 90)))
    if asked and asked[1] == "jpeg":
        return encode(to_pixels(on_white(picture)), "jpeg", quality=quality)
    return encode(to_pixels(picture), "webp", quality=quality)


def _text(form: Form, name: str) -> str:
    value = form.get(name)
    return value if isinstance(value, str) else ""


ROUTES = [upload_image, upload_mask, view]
