"""Pictures by their signed URL, for anyone who has the link."""

import re
import time
from typing import Annotated, Any

from litestar import Response, get
from litestar.params import FromPath, Parameter
from litestar.response import Stream

from gateway.errors import NotFound
from gateway.images.store import PREFIX, PictureStore, content_type
from gateway.web.door.answers.schema import refusals


def routes(store: PictureStore) -> list[Any]:
    """The route handlers."""

    @get(PREFIX + "{name:str}", media_type="image/png", responses=refusals(404), tags=["files"])
    async def get_picture(
        name: FromPath[str],
        expires: Annotated[str, Parameter(description="seconds since the epoch")] = "",
        signature: Annotated[str, Parameter(description="given out with the URL")] = "",
    ) -> Response[Any]:
        """A picture that a response's `url` named."""
        kind = content_type(name)
        until = int(expires) if re.fullmatch(r"[0-9]{1,12}", expires) else 0
        if kind is None or not store.is_signed(name, until, signature):
            raise NotFound("No such file, or its URL is not whole.")
        left = until - int(time.time())
        stored = await store.open(name) if left > 0 else None
        if stored is None:
            raise NotFound("This file's URL has expired.", code="url_expired")
        headers = {
            "Content-Type": kind,
            "Content-Length": str(stored.size_bytes),
            "Cache-Control": f"private, max-age={left}, immutable",
            "Cross-Origin-Resource-Policy": "cross-origin",
            "X-Content-Type-Options": "nosniff",
        }
        return Stream(stored.pieces(), headers=headers)

    return [get_picture]
