"""Files in answers, or the span of them that a `Range` asks for (RFC 9110, section 14)."""

import re
from collections.abc import Awaitable, Callable
from typing import Any

from litestar import Request, Response
from litestar.response import Stream

from gateway.errors import InvalidRequest, NotFound
from gateway.images.objects import Stored
from gateway.web.door.answers.stored import streamed

Open = Callable[[tuple[int, int] | None], Awaitable[Stored | None]]
"""Opens a file, or a span of it as slices are told; None where it is gone."""

_SPAN = re.compile(r"\s*bytes\s*=\s*([0-9]{0,18})\s*-\s*([0-9]{0,18})\s*")


class OutOfBytes(InvalidRequest):
    """A span of a file is asked for that begins behind its end."""

    status = 416
    code = "range_not_satisfiable"

    def __init__(self, size_bytes: int) -> None:
        super().__init__(f"The file has {size_bytes} bytes.")
        self.size_bytes = size_bytes


async def file_answer(
    request: Request[Any, Any, Any], stored: Stored, reopen: Open, cache: str
) -> Response[Any]:
    """All of a file that has been opened, or one span of it; of several, all is answered.

    Raises:
        OutOfBytes: there is nothing of the span.
        NotFound: the file went meanwhile.
    """
    whole = streamed(stored, cache)
    whole.headers["Accept-Ranges"] = "bytes"
    span = span_of(request.headers.get("range", ""), stored.size_bytes)
    if span is None:
        return whole
    part = await reopen(span)
    if part is None:
        raise NotFound("This file is gone.")
    start, end = span
    headers = whole.headers | {
        "Content-Length": str(end - start),
        "Content-Range": f"bytes {start}-{end - 1}/{stored.size_bytes}",
    }
    return Stream(part.pieces(), status_code=206, media_type=whole.media_type, headers=headers)


def span_of(header: str, size: int) -> tuple[int, int] | None:
    """Where a span begins and where it ends, the latter exclusive; None for all of the file.

    Raises:
        OutOfBytes: there is nothing of it.
    """
    found = _SPAN.fullmatch(header)
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        start, end = max(0, size - int(found[2])), size
    else:
        start, end = int(found[1]), min(size, int(found[2] or size) + 1)
        if found[2] and int(found[2]) < start:
            return None  # no span at all, which is as good as none
    if start >= end:
        raise OutOfBytes(size)
    return start, end
