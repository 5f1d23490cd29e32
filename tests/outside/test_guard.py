"""What may be fetched, and that what was checked is what is connected to."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from gateway.outside.guard import Guard, UrlRefused, fetch, guarded_client


@contextlib.asynccontextmanager
async def answering(
    answer: Callable[[bytes], bytes], allow: str, seconds: float = 0
) -> AsyncIterator[tuple[str, httpx.AsyncClient]]:
    """A server on loopback that answers each request's head, and a client for it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(seconds)
            writer.write(answer(head))
            await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        served.set()

    served = asyncio.Event()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, guarded_client(Guard((allow,))) as client:
        yield f"localhost:{server.sockets[0].getsockname()[1]}", client
        await served.wait()


def ok(body: bytes) -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body


def get(url: str, allow: tuple[str, ...] = (), **options: Any) -> bytes:
    async def run() -> bytes:
        async with guarded_client(Guard(allow)) as client:
            return await fetch(client, url, max_bytes=options.pop("max_bytes", 1000), **options)

    return asyncio.run(run())


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://localhost/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://[2002:7f00:1::]/",
        "http://169.254.169.254/latest/meta-data/",
        "http://10.0.0.1/",
        "http://192.168.1.1:8080/",
        "http://0.0.0.0/",
        "http://100.64.0.1/",
        "http://224.0.0.1/",
        "http://[fd00::1]/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "http://",
        "no url",
        "http://[oops/",
    ],
)
def test_forbidden_before_anything_is_sent(url: str) -> None:
    with pytest.raises(UrlRefused):
        Guard().check_url(url)
    with pytest.raises(UrlRefused):
        get(url)


def test_other_spellings_of_loopback_are_caught_at_connect() -> None:
    for url in ("http://2130706433/", "http://0x7f000001/", "http://127.1/"):
        with pytest.raises(UrlRefused, match=r"public address|not known"):
            get(url)


@pytest.mark.parametrize("allow", ["127.0.0.1", "127.0.0.0/8"])
def test_the_allow_list_permits_networks(allow: str) -> None:
    async def run() -> bytes:
        async with answering(lambda _head: ok(b"hello"), allow) as (at, client):
            port = at.rpartition(":")[2]
            return await fetch(client, f"http://127.0.0.1:{port}/", max_bytes=10)

    assert asyncio.run(run()) == b"hello"


def test_a_name_is_allowed_by_name_and_kept_in_the_host_header() -> None:
    async def run() -> bytes:
        answer = answering(lambda head: ok(head.split(b"\r\n")[1]), "localhost")
        async with answer as (at, client):
            return await fetch(client, f"http://{at}/", max_bytes=100)

    assert asyncio.run(run()).startswith(b"Host: localhost:")


def test_redirects_are_checked_again() -> None:
    moved = b"HTTP/1.1 302 Found\r\nLocation: http://10.0.0.1/\r\nContent-Length: 0\r\n\r\n"

    async def run() -> None:
        async with answering(lambda _head: moved, "localhost") as (at, client):
            with pytest.raises(UrlRefused, match=r"10\.0\.0\.1"):
                await fetch(client, f"http://{at}/", max_bytes=10)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("answer", "seconds", "message"),
    [
        (ok(b"x" * 11), 0, "larger"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", 0, "404"),
        (b"", 0, "could not be fetched"),
        (ok(b"late"), 0.6, "took over"),
    ],
)
def test_size_time_and_status_are_bounded(answer: bytes, seconds: float, message: str) -> None:
    async def run() -> None:
        async with answering(lambda _head: answer, "localhost", seconds) as (at, client):
            with pytest.raises(UrlRefused, match=message):
                await fetch(client, f"http://{at}/", max_bytes=10, timeout_seconds=0.3)

    asyncio.run(run())


def test_a_name_that_resolves_inward_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async def inward(*_: Any, **__: Any) -> Any:
        return [(0, 0, 0, "", ("93.184.216.34", 80)), (0, 0, 0, "", ("10.1.2.3", 80))]

    async def run() -> None:
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", inward, raising=False)
        async with guarded_client(Guard()) as client:
            await fetch(client, "http://rebinding.example/", max_bytes=10)

    with pytest.raises(UrlRefused, match=r"10\.1\.2\.3"):
        asyncio.run(run())


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    client = guarded_client(Guard())
    assert all(isinstance(mount, httpx.AsyncBaseTransport) for mount in client._mounts.values())
    assert client._mounts == {}
