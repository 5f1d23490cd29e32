"""Where no key is asked for: whose requests are this machine's own, and whose a stranger's page.

A browser sends requests for any page it shows. A page cannot read answers of another origin
unless they allow it (CORS), but it can have them sent, and a name of its own can be made to
resolve to this machine while it is open. What it cannot change are the headers that tell:
`Host` is the name it was loaded by, `Sec-Fetch-Site` and `Origin` are where it came from.
With keys none of this matters: a page does not have the key.
"""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from litestar.config.cors import CORSConfig
from litestar.connection import ASGIConnection

from gateway.errors import Forbidden, Misdirected
from gateway.outside.addresses import is_loopback
from gateway.settings import Settings

Connection = ASGIConnection[Any, Any, Any, Any]
EXPOSED = [
    "x-request-id",
    "retry-after",
    "openai-processing-ms",
    "x-rendered-size",
    "x-seed",
    "x-waiting-for",
    "x-warnings",
]
OWN_SITES = ("same-origin", "none")
"""`Sec-Fetch-Site` of the gateway's own pages, and of what a person typed."""

DEFAULT_PORTS = {"http": 80, "https": 443}


class Origins(CORSConfig):
    """CORS, and the same question asked of requests that a browser sends without it.

    The operator's list decides where there is one. Without, any origin may call a gateway
    that asks for keys, and none but its own one that `is_open`.
    """

    def __init__(self, settings: Settings, is_open: Callable[[], bool]) -> None:
        super().__init__(
            allow_origins=list(settings.cors_origins), allow_headers=["*"], expose_headers=EXPOSED
        )
        self._is_open = is_open
        self._public = _authority(settings.public_url or "")
        self._hosts = {host_name(host) for host in settings.allowed_hosts}
        if self._public:
            self._hosts.add(self._public[0])
        # Bound to a network for anyone: there is no telling by which names it is called.
        self._any_host = not (is_loopback(settings.host) or settings.allowed_hosts)

    def is_origin_allowed(self, origin: str) -> bool:
        """Whether pages of another origin may call and read the answers."""
        return super().is_origin_allowed(origin) or not (self.allow_origins or self._is_open())

    def check(self, connection: Connection) -> None:
        """Refuse what a stranger's page has the browser send.

        Raises:
            Misdirected: addressed to a name that may be the stranger's own.
            Forbidden: sent from a page of another origin.
        """
        host = connection.headers.get("host", "")
        if not self._is_own_host(host, connection):
            raise Misdirected(
                f"'{host[:100]}' is no name of this gateway, which asks for no API key and so "
                "answers to its own names only; the setting allowed_hosts adds some."
            )
        self.check_page(connection)

    def check_page(self, connection: Connection) -> None:
        """Refuse what a page of another origin has the browser send, with what it remembers.

        Raises:
            Forbidden: sent from such a page.
        """
        if not self._is_own_page(connection.headers.get("host", ""), connection):
            raise Forbidden(
                "A browser sends this of its own accord, so no page of another origin is "
                "answered; the setting cors_origins names those that may ask.",
                code="origin_not_allowed",
            )

    def _is_own_host(self, host: str, connection: Connection) -> bool:
        """By the name alone: ports are forwarded, and a stranger's name has any."""
        if self._any_host or not host:  # no browser leaves it out
            return True
        name = host_name(host)
        came_in_at, _port = connection.scope.get("server") or ("", None)
        return is_loopback(name) or name == came_in_at or name in self._hosts

    def _is_own_page(self, host: str, connection: Connection) -> bool:
        origin = connection.headers.get("origin")
        if origin and super().is_origin_allowed(origin):
            return True
        if site := connection.headers.get("sec-fetch-site"):
            return site in OWN_SITES
        if origin is None:  # no browser, or one so old that it only reads this way
            return True
        came_from = _authority(origin)
        own = _authority(f"{origin.partition('://')[0]}://{host}")
        return came_from is not None and came_from in (own, self._public)


def host_name(authority: str) -> str:
    """The name or address of a `Host`, without port, brackets and case."""
    name = authority.strip().lower()
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return name.partition(":")[0].removesuffix(".")


def _authority(origin: str) -> tuple[str, int | None] | None:
    """Host and port of an origin; None for one that has none, such as `null`."""
    try:
        parts = urlsplit(origin)
        port = parts.port
    except ValueError:
        return None
    if not parts.hostname:
        return None
    return parts.hostname.removesuffix("."), port or DEFAULT_PORTS.get(parts.scheme)
