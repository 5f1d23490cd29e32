"""The gateway's own address, as the client that asks can reach it."""

from typing import Any

from litestar.connection import ASGIConnection

from gateway.settings import Settings

Connection = ASGIConnection[Any, Any, Any, Any]


def public_base(connection: Connection, settings: Settings) -> str:
    """Scheme, host and port that URLs given out begin with, without a trailing slash.

    The configured public URL, else what a proxy says in `X-Forwarded-*`, else the request's
    own `Host`.
    """
    if settings.public_url:
        return settings.public_url.rstrip("/")
    headers = connection.headers
    scheme = _first(headers.get("x-forwarded-proto")) or connection.url.scheme
    host = _first(headers.get("x-forwarded-host")) or headers.get("host") or connection.url.netloc
    port = _first(headers.get("x-forwarded-port"))
    if port and ":" not in host.rpartition("]")[2] and port != _default_port(scheme):
        host = f"{host}:{port}"
    prefix = _first(headers.get("x-forwarded-prefix")).rstrip("/")
    return f"{scheme}://{host}{prefix}"


def _first(value: str | None) -> str:
    return (value or "").split(",")[0].strip()


def _default_port(scheme: str) -> str:
    return {"http": "80", "https": "443"}.get(scheme, "")
