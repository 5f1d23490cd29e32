"""The pages: a playground at `/`, `/runs`, the operator's view at `/status`; files in `/page/`."""

import hashlib
from pathlib import Path
from typing import Any

import msgspec
from litestar import Request, Response, get
from litestar.exceptions import NotFoundException
from litestar.params import FromPath

FOLDER = Path(__file__).parent / "static"

HEADERS = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self' blob: data:",
            "connect-src 'self'",
            "form-action 'none'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
"""Nothing is fetched from elsewhere and nothing is evaluated; caches ask each time, by ETag."""

MEDIA_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}


class Asset(msgspec.Struct, frozen=True):
    """One file of the pages, as it is sent."""

    content: bytes
    media_type: str
    etag: str


def read_asset(path: Path) -> Asset:
    """A file as it is sent; its name's ending decides the content type."""
    content = path.read_bytes()
    etag = f'"{hashlib.sha256(content).hexdigest()[:20]}"'
    return Asset(content, MEDIA_TYPES[path.suffix], etag)


ASSETS = {path.name: read_asset(path) for path in sorted(FOLDER.iterdir())}
"""The pages' files by name; what is not in this table is never served."""


@get("/", include_in_schema=False)
async def playground(request: Request[Any, Any, Any]) -> Response[bytes]:
    """The page to play on."""
    return answer("index.html", request)


@get("/runs", include_in_schema=False)
async def runs(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Runs and batches of whoever looks."""
    return answer("runs.html", request)


@get("/status", include_in_schema=False)
async def status(request: Request[Any, Any, Any]) -> Response[bytes]:
    """The operator's first look."""
    return answer("status.html", request)


@get("/page/{name:str}", include_in_schema=False)
async def asset(name: FromPath[str], request: Request[Any, Any, Any]) -> Response[bytes]:
    """A script, style sheet or icon of the pages."""
    return answer(name, request)


def answer(name: str, request: Request[Any, Any, Any]) -> Response[bytes]:
    """A file, or 304 where the browser has it already.

    Raises:
        NotFoundException: the pages have no such file.
    """
    if (found := ASSETS.get(name)) is None:
        raise NotFoundException
    headers = {**HEADERS, "ETag": found.etag}
    known = {tag.strip() for tag in request.headers.get("If-None-Match", "").split(",")}
    if found.etag in known:
        return Response(b"", status_code=304, headers=headers, media_type=found.media_type)
    return Response(found.content, headers=headers, media_type=found.media_type)


PAGES = [playground, runs, status, asset]
