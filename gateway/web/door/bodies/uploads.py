"""The bodies of edits: multipart as every SDK writes it, or JSON, read into one shape."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from io import SEEK_END
from typing import Any

import msgspec
from litestar.datastructures import UploadFile

from gateway.errors import (
    GatewayError,
    InvalidRequest,
    InvalidType,
    MissingParameter,
    OutOfRange,
    TooLarge,
    UnsupportedMediaType,
    UnsupportedValue,
)
from gateway.images.darkroom import Darkroom
from gateway.images.decode import as_mask, decode, on_white, size_of, to_pixels
from gateway.images.markup import marked, region
from gateway.images.objects import Stored
from gateway.images.scale import within
from gateway.intake import Inputs
from gateway.job import Pixels
from gateway.outside.documents import MAX_SMALL_BYTES, MIB, decode_json
from gateway.outside.inline import inline_bytes, source_of
from gateway.outside.spelling import is_absent
from gateway.web.door.answers.patience import while_here
from gateway.web.door.bodies.bodies import Asked, Read, media_type, read_json, remember
from gateway.web.door.bodies.forms import FORM, Form, read_form, read_text

MAX_IMAGES = 16
MAX_IMAGE_BYTES = 50 * 2**20
MAX_ALL_BYTES = 64 * 2**20
"""Of the pictures that one request names, as many as it may have itself."""

ROLES = ("image", "mask", "markup")
_PICTURES = {
    **dict.fromkeys(("image", "images", "image_url", "reference_images"), "image"),
    "mask": "mask",
    "markup": "markup",
}
_INDEX = re.compile(r"\[([0-9]{1,4})\]$")
_LORA_KEY = re.compile(r"loras?\[(?P<index>[0-9]*)\]\[(?P<key>\w+)\]")


class Sources(msgspec.Struct):
    """Where the pictures of one request come from that it only names: by URL, or by a file's id.

    `open_signed` knows the URLs that this gateway gave out, and is silent of all others.
    """

    fetch: Callable[[str, int], Awaitable[bytes]] | None
    darkroom: Darkroom
    open_file: Callable[[str], Awaitable[Stored]]
    open_signed: Callable[[str], Awaitable[Stored | None]]
    num_bytes: int = 0

    @property
    def left_bytes(self) -> int:
        """How many more they may have."""
        return MAX_ALL_BYTES - self.num_bytes

    async def read(self, stored: Stored, param: str) -> bytes:
        """The bytes of a stored file.

        Raises:
            InvalidRequest: there are too many, and none are read.
        """
        self.count(stored.size_bytes, param)
        return await stored.whole()

    def count(self, size_bytes: int, param: str) -> None:
        """Count a picture's bytes.

        Raises:
            InvalidRequest: it has too many, or all of them together.
        """
        check_size(size_bytes, param)
        self.num_bytes += size_bytes
        if self.left_bytes < 0:
            raise InvalidRequest(
                f"The images have over {MAX_ALL_BYTES >> 20} MiB together.",
                param=param,
                code="image_too_large",
            )


class Upload(msgspec.Struct, frozen=True):
    """Fields as in JSON, and the encoded pictures beside them; `markup` is drawn over the first."""

    fields: dict[str, Any]
    images: list[bytes]
    mask: bytes | None = None
    markup: bytes | None = None


async def read_upload(request: Asked, sources: Sources) -> Upload:
    """Read an edit's body, fetching the pictures it only names.

    Raises:
        InvalidRequest: of its family, for what is missing, malformed or not to be had.
    """
    kind = media_type(request)
    if kind == FORM:
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
    return upload


async def named_pictures(
    entries: Sequence[Any], param: str, sources: Sources, edge: int
) -> tuple[Pixels, ...]:
    """The pictures that entries of a field name, or are, scaled down to such edges.

    Raises:
        InvalidRequest: one of them is no picture, is not to be had, or is too large.
    """
    found = [
        await named_picture(entry, f"{param}[{place}]", sources)
        for place, entry in enumerate(entries)
    ]
    return (await inputs_of(Upload({}, found), sources.darkroom, edge, param)).images


async def inputs_of(
    upload: Upload,
    darkroom: Darkroom,
    edge: int,
    param: str = "image",
    *,
    instructed: bool = False,
) -> Inputs:
    """The pictures and the mask of an upload, scaled down to edges of this many pixels.

    Marks are drawn over the first picture where it is edited as `instructed`, and else say
    what to redraw, as a mask does.

    Raises:
        InvalidRequest: one of them is no picture, or they are too large together.
    """
    names = (
        [param]
        if len(upload.images) == 1
        else [f"{param}[{index}]" for index in range(len(upload.images))]
    )
    given = list(zip(upload.images, names, strict=True))
    weighing = darkroom.weigh()
    sizes = []
    beside = {"mask": upload.mask, "markup": upload.markup}
    for data, name in [*given, *((data, name) for name, data in beside.items() if data)]:
        sizes.append(await darkroom.do(size_of, data, name))
        weighing.add(len(data), sizes[-1], name)
    if upload.markup is not None and sizes[-1] != sizes[0]:
        raise InvalidRequest("'markup' must have the first image's size.", param="markup")
    marks = upload.markup if instructed else None
    first, *others = given
    images = [await darkroom.do(_first, *first, edge, marks)]
    images += [await darkroom.do(_shown, data, name, edge) for data, name in others]
    mask = None if upload.mask is None else await darkroom.do(_mask, upload.mask)
    if upload.markup is not None and not instructed:
        mask = await darkroom.do(_region, upload.markup)
    return Inputs(tuple(images), mask, sizes[0])


def _first(data: bytes, name: str, edge: int, marks: bytes | None) -> Pixels:
    """The first picture, under its marks."""
    if marks is None:
        return _shown(data, name, edge)
    picture = marked(decode(data, name), decode(marks, "markup"))
    return to_pixels(within(on_white(picture), edge))


def _region(markup: bytes) -> Pixels:
    return to_pixels(region(decode(markup, "markup")))


def _shown(data: bytes, name: str, edge: int) -> Pixels:
    return to_pixels(within(on_white(decode(data, name)), edge))


def _mask(data: bytes) -> Pixels:
    return to_pixels(as_mask(decode(data, "mask")))


async def _read_multipart(request: Asked, sources: Sources) -> Upload:
    async with read_form(request) as form:
        remember(request, Read(await asyncio.to_thread(form.digest)))
        return await while_here(request, _read_parts(form, sources))


async def _read_parts(form: Form, sources: Sources) -> Upload:
    fields: dict[str, Any] = {}
    pictures: dict[str, list[tuple[int, bytes]]] = {role: [] for role in ROLES}
    loras: list[tuple[str, str, str]] = []
    roles = [_role(name) for name, value in form.parts if not is_absent(value)]
    check_count(max(map(roles.count, ROLES)))
    for name, value in form.parts:
        if is_absent(value):
            continue
        if role := _role(name):
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
    images, masks, markups = (
        [data for _, data in sorted(pictures[role], key=lambda part: part[0])] for role in ROLES
    )
    return _checked(Upload(fields, images, next(iter(masks), None), next(iter(markups), None)))


def _role(name: str) -> str | None:
    """What a part of a form is a picture for; None for other parts."""
    return _PICTURES.get(name.partition("[")[0])


def check_count(num_images: int) -> None:
    """Refuse more pictures than one request may have.

    Raises:
        OutOfRange: saying how many those are.
    """
    if num_images > MAX_IMAGES:
        raise OutOfRange("image", "array", MAX_IMAGES, num_images, above=True)


async def _text(name: str, value: Any) -> str | None:
    """A part as text, also where it came as a typed blob; None for any other file."""
    if not isinstance(value, UploadFile):
        return str(value)
    if not value.content_type.startswith(("text/", "application/json")):
        return None
    if value.file.seek(0, SEEK_END) > MAX_SMALL_BYTES:
        raise TooLarge(f"'{name}' is a text of over {MAX_SMALL_BYTES // MIB} MiB.", param=name)
    await value.seek(0)
    try:
        return read_text(await value.read(), "utf-8")
    except ValueError:
        raise InvalidRequest(f"'{name}' is not UTF-8 text.", param=name) from None


async def _bytes(name: str, value: Any, sources: Sources) -> bytes:
    if not isinstance(value, UploadFile):
        return await named_picture(value, name, sources)
    check_size(value.file.seek(0, SEEK_END), name)
    await value.seek(0)
    return await value.read()


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
    return await while_here(request, find_pictures(fields, sources))


def names_pictures(fields: dict[str, Any]) -> bool:
    """Whether a JSON body may have pictures."""
    return any(name in fields for name in _PICTURES)


async def find_pictures(fields: dict[str, Any], sources: Sources) -> Upload:
    """The pictures that a JSON body has or names, taken out of its fields.

    Raises:
        InvalidRequest: there are too many, or one is not to be had.
    """
    listed = [fields.pop(name, None) for name, role in _PICTURES.items() if role == "image"]
    given: Any = next((pictures for pictures in listed if not is_absent(pictures)), [])
    entries = given if isinstance(given, list) else [given]
    check_count(len(entries))
    images = [
        await named_picture(entry, f"images[{index}]", sources)
        for index, entry in enumerate(entries)
    ]
    found: dict[str, bytes] = {}
    for role in ROLES[1:] if images else ():
        if not is_absent(entry := fields.pop(role, None)):
            found[role] = await named_picture(entry, role, sources)
    return _checked(Upload(fields, images, **found))


def _checked(upload: Upload) -> Upload:
    """An upload that says in one way what to edit.

    Raises:
        InvalidRequest: it has both a mask and marks.
    """
    if upload.mask is not None and upload.markup is not None:
        raise InvalidRequest("'markup' cannot be combined with 'mask'.", param="markup")
    return upload


async def named_picture(entry: Any, param: str, sources: Sources) -> bytes:
    """The picture of `{file_id}`, or of any other form that `source_of` knows.

    Raises:
        GatewayError: it is not to be had.
    """
    try:
        return await _found_picture(entry, param, sources)
    except GatewayError as error:
        error.param = param
        raise


async def _found_picture(entry: Any, param: str, sources: Sources) -> bytes:
    if isinstance(entry, dict) and isinstance(file_id := entry.get("file_id"), str):
        return await sources.read(await sources.open_file(file_id), param)
    source = source_of(entry)
    if source is None:
        raise InvalidType(param, "an object with image_url", type(entry).__name__)
    if (own := await sources.open_signed(source)) is not None:
        return await sources.read(own, param)
    if not source[:8].lower().startswith(("http://", "https://")):
        data = await sources.darkroom.do(inline_bytes, source, param)
    elif sources.fetch is None:
        raise UnsupportedValue("This server fetches no URLs; send the picture.", param=param)
    else:
        data = await sources.fetch(source, min(MAX_IMAGE_BYTES, sources.left_bytes))
    sources.count(len(data), param)
    return data
