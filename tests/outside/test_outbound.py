"""What may be asked, and how little of it a hostile receiver gets to decide."""

import asyncio
import contextlib
import resource
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from gateway.outside.guard import Guard, UrlRefused
from gateway.outside.outbound import AT_ONCE_PER_HOST, Outbound
from tests.outside.hostile import BEHAVIOURS, Hostile, hostile

OWNER = "ann"
HELD_SECONDS = 0.5
"""The event loop is to be held for 50 ms at most; tenfold, since tests run beside others."""


@pytest.fixture(scope="module")
def enemy() -> Iterator[Hostile]:
    with hostile() as found:
        yield found


@contextlib.asynccontextmanager
async def answering(
    answer: Callable[[bytes], bytes], allow: str, seconds: float = 0
) -> AsyncIterator[tuple[str, Outbound]]:
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
    async with server:
        yield f"localhost:{server.sockets[0].getsockname()[1]}", Outbound(Guard((allow,)))
        await served.wait()


def ok(body: bytes) -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body


async def get(outbound: Outbound, url: str, **options: Any) -> bytes:
    return await outbound.fetch(url, OWNER, max_bytes=options.pop("max_bytes", 1000), **options)


@contextlib.asynccontextmanager
async def watched() -> AsyncIterator[list[float]]:
    """How long the event loop was held, each time it was looked at."""
    held = [0.0]

    async def watch() -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.002)
            held.append(time.monotonic() - before)

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0)
    yield held
    watching.cancel()


@pytest.mark.parametrize("allow", ["127.0.0.1", "127.0.0.0/8"])
async def test_the_allow_list_permits_networks(allow: str) -> None:
    async with answering(lambda _head: ok(b"hello"), allow) as (at, outbound):
        port = at.rpartition(":")[2]
        assert await get(outbound, f"http://127.0.0.1:{port}/") == b"hello"


async def test_a_name_is_allowed_by_name_and_kept_in_the_host_header() -> None:
    async with answering(ok, "localhost") as (at, outbound):
        head = await get(outbound, f"http://user:p%40ss@{at}/a%20b?c=d#e")
    lines = head.decode().lower().splitlines()
    assert lines[0] == "get /a%20b?c=d http/1.1"
    assert f"host: {at}" in lines
    assert "accept-encoding: identity" in lines
    assert "authorization: basic dxnlcjpwqhnz" in lines


async def test_redirects_are_checked_again() -> None:
    moved = b"HTTP/1.1 302 Found\r\nLocation: http://10.0.0.1/\r\nContent-Length: 0\r\n\r\n"
    async with answering(lambda _head: moved, "localhost") as (at, outbound):
        with pytest.raises(UrlRefused, match=r"10\.0\.0\.1"):
            await get(outbound, f"http://{at}/")


@pytest.mark.parametrize(
    ("answer", "seconds", "message"),
    [
        (ok(b"x" * 11), 0, "larger"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", 0, "404"),
        (b"", 0, "could not be fetched"),
        (ok(b"late"), 0.6, "took over"),
    ],
)
async def test_size_time_and_status_are_bounded(
    answer: bytes, seconds: float, message: str
) -> None:
    async with answering(lambda _head: answer, "localhost", seconds) as (at, outbound):
        with pytest.raises(UrlRefused, match=message):
            await get(outbound, f"http://{at}/", max_bytes=10, timeout_seconds=0.3)


async def test_a_name_that_resolves_inward_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(0, 0, 0, "", ("93.184.216.34", 80)), (0, 0, 0, "", ("10.1.2.3", 80))]
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: found)
    with pytest.raises(UrlRefused, match=r"10\.1\.2\.3"):
        await get(Outbound(Guard()), "http://rebinding.example/")


async def test_a_name_server_that_does_not_answer_holds_up_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    over = threading.Event()

    def hang(*_: Any, **__: Any) -> Any:
        over.wait(60)
        raise OSError

    monkeypatch.setattr("socket.getaddrinfo", hang)
    outbound = Outbound(Guard())
    hanging = [
        asyncio.create_task(get(outbound, f"http://{number}.example/", timeout_seconds=0.2))
        for number in range(40)
    ]
    async with asyncio.timeout(20):
        await asyncio.sleep(0.05)
        await asyncio.to_thread(bool)
        ended = await asyncio.gather(*hanging, return_exceptions=True)
    over.set()
    assert all("took over" in str(each) for each in ended)


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    async with answering(lambda _head: ok(b"hello"), "localhost") as (at, outbound):
        assert await get(outbound, f"http://{at}/") == b"hello"


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
async def test_no_hostile_answer_is_a_picture(behaviour: str, enemy: Hostile) -> None:
    """None takes the event loop, the memory or more than its time."""
    outbound, before = Outbound(Guard(("127.0.0.1",))), enemy.num_sent
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with watched() as held, asyncio.timeout(5):
        with pytest.raises(UrlRefused):
            await get(outbound, enemy.at(behaviour), max_bytes=50 * 2**20, timeout_seconds=0.4)
    assert max(held) < HELD_SECONDS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - resident < 400 * 1024
    assert enemy.num_sent - before < 200 * 2**20


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
async def test_of_a_webhooks_answer_only_the_status_is_taken(
    behaviour: str, enemy: Hostile
) -> None:
    outbound, before = Outbound(Guard(("127.0.0.1",))), enemy.num_sent
    answered = behaviour in (
        "slow_body",
        "endless_body",
        "endless_chunks",
        "bomb",
        "broken_off",
        "announced",
    )
    async with watched() as held, asyncio.timeout(5):
        with contextlib.nullcontext() if answered else pytest.raises(UrlRefused):
            status = await outbound.post(enemy.at(behaviour), OWNER, b"{}", {}, 0.4)
            assert status == 200
    assert max(held) < HELD_SECONDS
    # What lies in the sockets' buffers was sent, but not taken.
    assert enemy.num_sent - before < 16 * 2**20


async def test_redirects_end(enemy: Hostile) -> None:
    before = len(enemy.heads)
    with pytest.raises(UrlRefused, match="beyond 5 redirects"):
        await get(Outbound(Guard(("127.0.0.1",))), enemy.at("loop"))
    assert len(enemy.heads) - before == 6


async def test_a_host_that_hangs_keeps_neither_the_others_nor_other_keys_waiting() -> None:
    outbound = Outbound(Guard(("localhost", "127.0.0.1")))
    with hostile() as enemy:
        hanging = [
            asyncio.create_task(outbound.post(enemy.at("silent"), OWNER, b"{}", {}, 30))
            for _ in range(100)
        ]
        async with answering(lambda _head: ok(b"hello"), "localhost") as (at, _):
            async with asyncio.timeout(5):
                assert await outbound.fetch(f"http://{at}/", OWNER, max_bytes=10) == b"hello"
        with pytest.raises(UrlRefused, match="no answer within"):
            await outbound.post(enemy.at("silent"), "bob", b"{}", {}, 0.3)
        assert enemy.most_open == AT_ONCE_PER_HOST + 1
        for task in hanging:
            task.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)


async def test_hosts_are_forgotten() -> None:
    outbound = Outbound(Guard(("localhost",)))
    for number in range(20):
        with pytest.raises(UrlRefused):
            await outbound.fetch(f"http://{number}.localhost:9/", OWNER, max_bytes=10)
        with pytest.raises(UrlRefused):
            await outbound.fetch("http://localhost:1/", str(number), max_bytes=10)
    assert len(outbound._lanes) == 0
