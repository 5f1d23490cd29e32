"""Which URLs that clients name may be asked, so that none is a door into a private network.

Only http and https. A literal address is judged at once, in whatever spelling; a name is
judged by every address that it has when it is connected to.
"""

import asyncio
import ipaddress
import re
import socket
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx

from gateway.errors import InvalidRequest
from gateway.outside.networks import Address, Network, closed_as

MAX_URL_CHARACTERS = 8192
LOOKUPS_AT_ONCE = 64
"""In threads of their own: a name server that does not answer holds up nothing else."""

_LOOPBACK = ipaddress.ip_address("127.0.0.1")
_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*\.?")
_NUMBER = re.compile(r"(^|\.)([0-9]+|0x[0-9a-f]*)\.?$")
_MISREAD = re.compile(r"[\x00-\x1f\x7f\\]")


class UrlRefused(InvalidRequest):
    """A URL that is not fetched, or could not be; the message says why."""

    code = "invalid_url"


class Guard:
    """Which hosts and addresses may be reached.

    `allow` names hosts, addresses or networks that may be although they are private.
    """

    def __init__(self, allow: Iterable[str] = ()) -> None:
        self.hosts: set[str] = set()
        self.networks: list[Network] = []
        self._resolvers = ThreadPoolExecutor(LOOKUPS_AT_ONCE, thread_name_prefix="resolve")
        for entry in allow:
            try:
                self.networks.append(ipaddress.ip_network(entry, strict=False))
            except ValueError:
                self.hosts.add(entry.lower().rstrip("."))

    def check_url(self, url: str) -> httpx.URL:
        """Refuse what can be refused before anything is resolved; the URL as it is to be asked.

        Raises:
            UrlRefused: not http(s), no host, or a literal address that is forbidden.
        """
        parsed = _parsed(url)
        host = parsed.raw_host.decode()
        if address := _LOOPBACK if _is_localhost(host) else _literal(host):
            self.check_address(host, address)
        elif _NUMBER.search(host) or not _NAME.fullmatch(host):
            raise UrlRefused(f"{url[:200]!r} names no host.")
        return parsed

    def check_address(self, host: str, address: Address) -> None:
        """Refuse an address that is not on the public internet, unless it is allowed.

        Raises:
            UrlRefused: the message names the setting that would allow it.
        """
        name = host.lower().rstrip(".")
        if name in self.hosts or any(address in network for network in self.networks):
            return
        if what := closed_as(address):
            raise UrlRefused(
                f"'{host}' is at {address} ({what}), which is not a public address. "
                "The setting url_allow can permit it."
            )

    async def resolve(self, host: str, port: int) -> str:
        """An address of a host, every one of which may be reached.

        Raises:
            UrlRefused: the host is unknown or has a forbidden address.
        """
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(self._resolvers, _addresses, host, port)
        except (OSError, UnicodeError):
            raise UrlRefused(f"The host '{host}' is not known.") from None
        for address in found:
            self.check_address(host, address)
        return str(found[0])


def _parsed(url: str) -> httpx.URL:
    """A URL as the client reads it, without what other readers would read differently."""
    if len(url) > MAX_URL_CHARACTERS:
        raise UrlRefused(f"A URL may have up to {MAX_URL_CHARACTERS} characters.")
    with suppress(httpx.InvalidURL, UnicodeError, ValueError):
        parsed = httpx.URL(url)
        has_port = parsed.port is None or 0 < parsed.port < 2**16
        is_web = parsed.scheme in ("http", "https") and parsed.raw_host
        if is_web and has_port and not _MISREAD.search(url):
            return parsed
    raise UrlRefused(f"{url[:200]!r} is not an http or https URL.")


def _literal(host: str) -> Address | None:
    """The address that a host is, in whatever spelling: 127.1, 0x7f000001, 0177.0.0.1, …"""
    if ":" in host and "%" not in host:
        with suppress(ValueError):
            return ipaddress.IPv6Address(host)
    if _NUMBER.search(host):
        with suppress(OSError):
            return ipaddress.IPv4Address(socket.inet_aton(host.rstrip(".")))
    return None


def _is_localhost(host: str) -> bool:
    name = host.rstrip(".")
    return name == "localhost" or name.endswith(".localhost")


def _addresses(host: str, port: int) -> list[Address]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
