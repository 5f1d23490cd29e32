"""The bodies of requests: JSON as it is read, and what is remembered of any body."""

import asyncio
import hashlib
import re
from typing import Any

import msgspec
from litestar import Request

from gateway.errors import InvalidRequest, InvalidType, UnsupportedMediaType
from gateway.outside.documents import Reading, check_size
from gateway.outside.spelling import is_absent

Asked = Request[Any, Any, Any]
MAX_FIELDS = 1000
"""Of a body, ten times those of any dialect: they are looked through name by name."""

_READ = "read"
_DECODING = "decoding"
"""In the application's state: who decodes a large document."""


class Read(msgspec.Struct, frozen=True):
    """What is remembered of a body: a digest of all of it, and the seed it names."""

    digest: str
    seed: Any = None

    @property
    def names_its_seed(self) -> bool:
        """Whether the pictures are settled by it: joining work for the same changes nothing."""
        return not is_absent(self.seed) and str(self.seed) != "-1"


def remember(request: Asked, read: Read) -> None:
    """Keep what is known of a request's body with it."""
    request.scope["state"][_READ] = read


def is_remembered(request: Asked) -> bool:
    """Whether a request has a body of its own, and it has been read."""
    return _READ in request.scope["state"]


def remembered(request: Asked) -> Read:
    """What is known of a request's body, which has been read."""
    read: Read = request.scope["state"][_READ]
    return read


async def read_json(request: Asked) -> dict[str, Any]:
    """The body as a JSON object.

    Raises:
        UnsupportedMediaType: the content type says it is something else.
        TooLarge: it has more bytes than are decoded at once; the others are not read.
        InvalidRequest: it is not a JSON object.
    """
    _check_is_json(request)
    return await _object(request, *await _read(request))


async def read_json_or_none(request: Asked) -> dict[str, Any] | None:
    """The same where a request need not have a body, whatever its content type says then."""
    reading, digest = await _read(request)
    if reading.is_blank:
        return None
    _check_is_json(request)
    return await _object(request, reading, digest)


async def read_json_of_any_type(request: Asked) -> dict[str, Any]:
    """The same whatever its content type says, and empty where there is none.

    For dialects whose clients send JSON as text. A page of another origin can have that sent
    without asking first, and is refused by where it comes from.
    """
    reading, digest = await _read(request)
    return {} if reading.is_blank else await _object(request, reading, digest)


def announced_bytes(request: Asked) -> int | None:
    """How long the client says its body is."""
    text = request.headers.get("content-length", "")
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None


def media_type(request: Asked) -> str:
    """What the client says its body is, in lower case; empty if nothing."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _check_is_json(request: Asked) -> None:
    kind = media_type(request)
    if kind and kind != "application/json" and not kind.endswith("+json"):
        raise UnsupportedMediaType(
            f"Unsupported content type: '{kind}'. This API method only accepts "
            "'application/json' requests."
        )


async def _read(request: Asked) -> tuple[Reading, str]:
    """All of a body of JSON and its digest; what can be done piece by piece is."""
    check_size(announced_bytes(request) or 0)
    reading, digest = Reading(), hashlib.sha256()
    async for piece in request.stream():
        reading.add(piece)
        digest.update(piece)
    return reading, digest.hexdigest()


async def _document(request: Asked, reading: Reading) -> Any:
    """What a body says; large ones are decoded one at a turn, however many come at once."""
    if not reading.is_large:
        return reading.document()
    async with request.app.state.setdefault(_DECODING, asyncio.Lock()):
        document = reading.document()
        await asyncio.sleep(0)
        return document


async def _object(request: Asked, reading: Reading, digest: str) -> dict[str, Any]:
    body = await _document(request, reading)
    if not isinstance(body, dict):
        raise InvalidType("body", "an object", type(body).__name__)
    if len(body) > MAX_FIELDS:
        raise InvalidRequest(f"The body has over {MAX_FIELDS} fields.", code="invalid_json")
    remember(request, Read(digest, body.get("seed")))
    return body
