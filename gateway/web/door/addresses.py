"""The gateway's own address, as the client that asks can reach it."""

import re
from collections.abc import Mapping
from typing import Any

from litestar.connection import ASGIConnection

from gateway.outside.addresses import base_of, host_of, port_of, prefix_of, scheme_of
from gateway.settings import Settings

Connection = ASGIConnection[Any, Any, Any, Any]
MOUNTED_AT = "mounted_at"
"""In a request's state: the path that the gateway stands under, where its server says so."""

_PAIR = re.compile(r'\s*(\w+)\s*=\s*("(?:[^"\\]|\\.)*"|[^\s;,"]+)\s*')


def public_base(connection: Connection, settings: Settings) -> str:
    """Scheme, host, port and path that URLs given out begin with, without a trailing slash.

    The configured public URL, else what a proxy says in `X-Forwarded-*` or `Forwarded`, else
    the request's own `Host`. Of what others say, only what makes a valid URL is believed.
    """
    if settings.public_url:
        return base_of(settings.public_url)
    told, scope = _forwarded(connection.headers), connection.scope
    scheme = told["scheme"] or scheme_of(scope["scheme"]) or "http"
    host = told["host"] or host_of(connection.headers.get("host", "")) or _bound(connection)
    if told["port"] and not re.search(r":[0-9]+$", host) and not _is_default(told["port"], scheme):
        host = f"{host}:{told['port']}"
    prefix = told["prefix"] or scope["state"].get(MOUNTED_AT, "")
    return f"{scheme}://{host}{prefix}"


def _forwarded(headers: Mapping[str, str]) -> dict[str, str]:
    """What the proxy nearest to the client says; RFC 7239 where the customary headers do not."""
    told = _pairs(headers.get("forwarded", ""))
    return {
        "scheme": scheme_of(_first(headers, "x-forwarded-proto")) or scheme_of(told["proto"]),
        "host": host_of(_first(headers, "x-forwarded-host")) or host_of(told["host"]),
        "port": port_of(_first(headers, "x-forwarded-port")),
        "prefix": prefix_of(_first(headers, "x-forwarded-prefix")),
    }


def _pairs(forwarded: str) -> dict[str, str]:
    """`proto` and `host` of the first element of a `Forwarded` header."""
    found: dict[str, str] = {}
    at, sign = 0, ";"
    while sign == ";" and (pair := _PAIR.match(forwarded, at)):
        found[pair[1].lower()] = re.sub(r"\\(.)", r"\1", pair[2].strip('"'))
        at, sign = pair.end() + 1, forwarded[pair.end() : pair.end() + 1]
    is_whole = sign in ("", ",")
    return {name: found.get(name, "") if is_whole else "" for name in ("proto", "host")}


def _first(headers: Mapping[str, str], name: str) -> str:
    return headers.get(name, "").split(",")[0]


def _bound(connection: Connection) -> str:
    """The address that the request came in at."""
    host, port = connection.scope.get("server") or ("localhost", None)
    literal = f"[{host}]" if ":" in host else host
    return host_of(f"{literal}:{port}" if port else literal) or "localhost"


def _is_default(port: str, scheme: str) -> bool:
    return port == {"http": "80", "https": "443"}[scheme]
