"""The bodies of edits: multipart as every SDK writes it, or JSON, read into one shape."""

import re
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from litestar.datastructures import UploadFile

from gateway.errors import (
    GatewayError,
    InvalidRequest,
    InvalidType,
    MissingParameter,
    OutOfRange,
    UnsupportedMediaType,
    UnsupportedValue,
)
from gateway.images.darkroom import Darkroom
from gateway.images.decode import as_mask, decode, on_white, to_pixels
from gateway.images.objects import Stored
from gateway.images.scale import within
from gateway.intake import Inputs
from gateway.job import Pixels
from gateway.outside.documents import check_text, decode_json
from gateway.outside.inline import inline_bytes, source_of
from gateway.outside.spelling import is_absent
from gateway.web.door.desk import Asked, read_form, read_json

MAX_IMAGES = 16
MAX_IMAGE_BYTES = 50 * 2**20
_PICTURES = {"image": "image", "images": "image", "image_url": "image", "mask": "mask"}
_INDEX = re.compile(r"\[([0-9]{1,4})\]$")
_LORA_KEY = re.compile(r"loras?\[(?P<index>[0-9]*)\]\[(?P<key>\w+)\]")


class Sources(msgspec.Struct, frozen=True):
    """Where pictures come from that a request only names: by URL, or by a file's id.

    `open_signed` knows the URLs that this gateway gave out, and is silent of all others.
    """

    fetch: Callable[[str, int], Awaitable[bytes]] | None
    darkroom: Darkroom
    read_file: Callable[[str], Awaitable[bytes]]
    open_signed: Callable[[str], Awaitable[Stored | None]]


class Upload(msgspec.Struct, frozen=True):
    """Fields as in JSON, and the encoded pictures beside them."""

    fields: dict[str, Any]
    images: list[bytes]
    mask: bytes | None = None


async def read_upload(request: Asked, sources: Sources) -> Upload:
    """Read an edit's body, fetching the pictures it only names.

    Raises:
        InvalidRequest: of its family, for what is missing, malformed or not to be had.
    """
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind == "multipart/form-data":
        upload = await _read_multipart(request, sources)
    elif kind in ("application/json", ""):
        upload = await _read_json(request, sources)
    else:
        raise UnsupportedMediaType(
            f"Unsupported content type: '{kind}'. This API method accepts "
            "'multipart/form-data' and 'application/json' requests."
        )
    if not upload.images:
        raise MissingParameter("image")
    if len(upload.images) > MAX_IMAGES:
        raise OutOfRange("image", "array", MAX_IMAGES, len(upload.images), above=True)
    return upload


async def inputs_of(upload: Upload, darkroom: Darkroom, edge: int) -> Inputs:
    """The pictures and the mask of an upload, scaled down to edges of this many pixels.

    Raises:
        InvalidRequest: one of them is no picture.
    """
    names = (
        ["image"]
        if len(upload.images) == 1
        else [f"image[{index}]" for index in range(len(upload.images))]
    )
    images = [
        await darkroom.do(_shown, data, name, edge)
        for data, name in zip(upload.images, names, strict=True)
    ]
    has_mask = upload.mask is not None
    return Inputs(tuple(images), await darkroom.do(_mask, upload.mask) if has_mask else None)


def _shown(data: bytes, name: str, edge: int) -> Pixels:
    return to_pixels(within(on_white(decode(data, name)), edge))


def _mask(data: bytes) -> Pixels:
    return to_pixels(as_mask(decode(data, "mask")))


async def _read_multipart(request: Asked, sources: Sources) -> Upload:
    fields: dict[str, Any] = {}
    pictures: dict[str, list[tuple[int, bytes]]] = {"image": [], "mask": []}
    loras: list[tuple[str, str, str]] = []
    for name, value in (await read_form(request)).multi_items():
        if is_absent(value):
            continue
        if role := _PICTURES.get(name.partition("[")[0]):
            index = _INDEX.search(name)
            place = int(index[1]) if index else len(pictures[role])
            pictures[role].append((place, await _bytes(name, value, sources)))
        elif lora := _LORA_KEY.fullmatch(name):
            loras.append((lora["index"], lora["key"], str(value)))
        elif text := await _text(name, value):
            fields[name] = text
    if "loras" in fields or "lora" in fields:
        name = "loras" if "loras" in fields else "lora"
        fields["loras"] = _json_text(name, fields.pop(name))
    if loras:
        fields["loras"] = _regrouped(loras)
    images, masks = (
        [data for _, data in sorted(pictures[role], key=lambda part: part[0])]
        for role in ("image", "mask")
    )
    return Upload(fields, images, next(iter(masks), None))


async def _text(name: str, value: Any) -> str | None:
    """A part as text, also where it came as a typed blob; None for any other file."""
    if not isinstance(value, UploadFile):
        return str(value)
    if not value.content_type.startswith(("text/", "application/json")):
        return None
    try:
        text = (await value.read()).decode()
        check_text(text)
        return text
    except ValueError:
        raise InvalidRequest(f"'{name}' is not UTF-8 text.", param=name) from None


async def _bytes(name: str, value: Any, sources: Sources) -> bytes:
    if not isinstance(value, UploadFile):
        return await _named_picture(value, name, sources)
    data = await value.read()
    check_size(len(data), name)
    return data


def check_size(size_bytes: int, param: str) -> None:
    """Refuse a picture of too many bytes.

    Raises:
        InvalidRequest: naming the bound.
    """
    if size_bytes > MAX_IMAGE_BYTES:
        raise InvalidRequest(
            f"Invalid image '{param}': over {MAX_IMAGE_BYTES >> 20} MiB.",
            param=param,
            code="image_too_large",
        )


def _json_text(name: str, text: str) -> Any:
    try:
        return decode_json(text.encode())
    except InvalidRequest:
        return text if re.fullmatch(r"[\w.:-]+", text) else _not_json(name)


def _not_json(name: str) -> Any:
    raise InvalidRequest(f"'{name}' in a form must be a JSON string.", param=name)


def _regrouped(parts: list[tuple[str, str, str]]) -> list[dict[str, str]]:
    """`loras[0][path]` by index; `loras[][path]` only where every key comes equally often.

    Raises:
        InvalidRequest: the parts cannot be told apart.
    """
    if all(index for index, _, _ in parts):
        groups: dict[str, dict[str, str]] = {}
        for index, key, value in parts:
            groups.setdefault(index, {})[key] = value
        return [groups[index] for index in sorted(groups, key=int)]
    columns: dict[str, list[str]] = {}
    for _, key, value in parts:
        columns.setdefault(key, []).append(value)
    if len({len(values) for values in columns.values()}) != 1:
        raise InvalidRequest(
            "The parts of 'loras[]' do not line up; send 'loras' as a JSON string.", param="loras"
        )
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


async def _read_json(request: Asked, sources: Sources) -> Upload:
    fields = await read_json(request)
    listed = [fields.pop(name, None) for name, role in _PICTURES.items() if role == "image"]
    given: Any = next((pictures for pictures in listed if not is_absent(pictures)), [])
    entries = given if isinstance(given, list) else [given]
    images = [
        await _named_picture(entry, f"images[{index}]", sources)
        for index, entry in enumerate(entries[: MAX_IMAGES + 1])
    ]
    mask = fields.pop("mask", None)
    if is_absent(mask):
        return Upload(fields, images)
    return Upload(fields, images, await _named_picture(mask, "mask", sources))


async def _named_picture(entry: Any, param: str, sources: Sources) -> bytes:
    """The picture of `{file_id}`, or of any other form that `source_of` knows."""
    try:
        data = await _found_picture(entry, param, sources)
    except GatewayError as error:
        error.param = param
        raise
    check_size(len(data), param)
    return data


async def _found_picture(entry: Any, param: str, sources: Sources) -> bytes:
    if isinstance(entry, dict) and isinstance(file_id := entry.get("file_id"), str):
        return await sources.read_file(file_id)
    source = source_of(entry)
    if source is None:
        raise InvalidType(param, "an object with image_url", type(entry).__name__)
    if (own := await sources.open_signed(source)) is not None:
        check_size(own.size_bytes, param)
        return await own.whole()
    if not source[:8].lower().startswith(("http://", "https://")):
        return await sources.darkroom.do(inline_bytes, source, param)
    if sources.fetch is None:
        raise UnsupportedValue("This server fetches no URLs; send the picture.", param=param)
    return await sources.fetch(source, MAX_IMAGE_BYTES)
