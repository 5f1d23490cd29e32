"""Fetching URLs that clients name, without becoming their door into a private network.

Only http and https; the address a host resolves to is checked when it is connected to, and
the connection goes to that very address, so that a name cannot resolve differently a
moment later. Every redirect passes the same door.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

import httpx

from gateway.errors import InvalidRequest

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MAX_REDIRECTS = 5
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


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
        for entry in allow:
            try:
                self.networks.append(ipaddress.ip_network(entry, strict=False))
            except ValueError:
                self.hosts.add(entry.lower())

    def check_url(self, url: str) -> None:
        """Refuse what can be refused before anything is resolved.

        Raises:
            UrlRefused: not http(s), no host, or a literal address that is forbidden.
        """
        try:
            parts = urlsplit(url)
            host, _port = parts.hostname, parts.port
        except ValueError:
            raise UrlRefused(f"'{url[:200]}' is not a URL.") from None
        if parts.scheme not in ("http", "https") or not host:
            raise UrlRefused(f"'{url[:200]}' is not an http or https URL.")
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            if host == "localhost" and host not in self.hosts:
                self.check_address(host, ipaddress.ip_address("127.0.0.1"))
            return
        self.check_address(host, address)

    def check_address(self, host: str, address: Address) -> None:
        """Refuse an address that is not on the public internet, unless it is allowed.

        Raises:
            UrlRefused: the message names the setting that would allow it.
        """
        if host.lower() in self.hosts or any(address in network for network in self.networks):
            return
        inner = _embedded(address)
        if not inner.is_global or inner.is_multicast or inner.is_reserved:
            raise UrlRefused(
                f"'{host}' is at {address}, which is not a public address. "
                "The setting url_allow can permit it."
            )

    async def resolve(self, host: str, port: int) -> str:
        """An address of a host, every one of which may be reached.

        Raises:
            UrlRefused: the host is unknown or has a forbidden address.
        """
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise UrlRefused(f"The host '{host}' is not known.") from None
        addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
        for address in addresses:
            self.check_address(host, address)
        return str(addresses[0])


def _embedded(address: Address) -> Address:
    """The IPv4 address that an IPv6 one is a wrapping of."""
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        return address.ipv4_mapped or address.sixtofour or address
    return address


class GuardedTransport(httpx.AsyncBaseTransport):
    """Connects to the address that was checked, under the name that was asked for."""

    def __init__(self, guard: Guard) -> None:
        self.guard = guard
        self._inner = httpx.AsyncHTTPTransport(retries=0)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request; redirects come back here one by one."""
        url = request.url
        self.guard.check_url(str(url))
        port = url.port or (443 if url.scheme == "https" else 80)
        address = await self.guard.resolve(url.host, port)
        pinned = httpx.Request(
            request.method,
            url.copy_with(host=address),
            headers=request.headers,
            stream=request.stream,
            extensions=request.extensions | {"sni_hostname": url.host},
        )
        return await self._inner.handle_async_request(pinned)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()


def guarded_client(guard: Guard) -> httpx.AsyncClient:
    """A client whose every connection passes the guard; the environment's proxies are ignored."""
    return httpx.AsyncClient(
        transport=GuardedTransport(guard), trust_env=False, max_redirects=MAX_REDIRECTS
    )


async def fetch(
    client: httpx.AsyncClient, url: str, *, max_bytes: int, timeout_seconds: float = 30
) -> bytes:
    """The body at a URL, following redirects.

    Raises:
        UrlRefused: forbidden, unreachable, too slow, too large, or not answered with a 2xx.
    """
    try:
        async with (
            asyncio.timeout(timeout_seconds),
            client.stream("GET", url, follow_redirects=True) as response,
        ):
            if not response.is_success:
                raise UrlRefused(f"'{url[:200]}' answered {response.status_code}.")
            return await _read(response, url, max_bytes)
    except TimeoutError:
        raise UrlRefused(f"'{url[:200]}' took over {timeout_seconds:g} s.") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise UrlRefused(f"'{url[:200]}' could not be fetched: {_why(error)}.") from None


async def _read(response: httpx.Response, url: str, max_bytes: int) -> bytes:
    data = bytearray()
    async for chunk in response.aiter_bytes():
        data += chunk
        if len(data) > max_bytes:
            raise UrlRefused(f"'{url[:200]}' is larger than {max_bytes} bytes.")
    return bytes(data)


def _why(error: Exception) -> str:
    return str(error) or type(error).__name__
