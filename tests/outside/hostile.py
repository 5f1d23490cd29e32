"""Receivers that mean harm, on loopback, in a thread of their own: one behaviour a path."""

import asyncio
import gzip
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

Behaviour = Callable[["Hostile"], AsyncIterator[bytes]]
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
BOMB = gzip.compress(bytes(64 * 2**20), 1)
"""64 MiB in some hundred KiB."""


class Hostile:
    """Where they are, what they were asked, and how much of their answers was taken."""

    def __init__(self) -> None:
        self.url = ""
        self.heads: list[bytes] = []
        self.num_sent = 0
        self.num_open = 0
        self.most_open = 0

    def at(self, behaviour: str) -> str:
        """The URL of a behaviour."""
        return f"{self.url}/{behaviour}"


def redirect(url: str) -> bytes:
    """To be asked again elsewhere, with the body."""
    return f"HTTP/1.1 307 T\r\nLocation: {url}\r\nContent-Length: 0\r\n\r\n".encode()


async def silent(_: Hostile) -> AsyncIterator[bytes]:
    """Take the request and say nothing."""
    await asyncio.sleep(60)
    yield b""


async def slow_head(_: Hostile) -> AsyncIterator[bytes]:
    """A header that comes byte by byte and does not end."""
    yield OK + b"X-Slow: "
    while True:
        yield b"x"
        await asyncio.sleep(0.01)


async def slow_body(_: Hostile) -> AsyncIterator[bytes]:
    """A body of which a byte comes now and then."""
    yield OK + b"Content-Length: 1000\r\n\r\n"
    while True:
        yield b"x"
        await asyncio.sleep(0.01)


async def endless_body(_: Hostile) -> AsyncIterator[bytes]:
    """A body without an end, as fast as it is taken."""
    yield OK + b"\r\n"
    while True:
        yield bytes(65536)


async def endless_chunks(_: Hostile) -> AsyncIterator[bytes]:
    """A body of single bytes, each a chunk of its own."""
    yield CHUNKED
    while True:
        yield b"1\r\nx\r\n" * 10_000


async def endless_interim(_: Hostile) -> AsyncIterator[bytes]:
    """Interim answers without an end, as fast as they are taken."""
    while True:
        yield b"HTTP/1.1 100 C\r\n\r\n" * 4000


async def endless_head(_: Hostile) -> AsyncIterator[bytes]:
    """Headers without an end."""
    yield OK
    while True:
        yield b"X-More: " + b"x" * 8000 + b"\r\n"


async def bomb(_: Hostile) -> AsyncIterator[bytes]:
    """A compressed body, whatever was asked for, a thousand times as large once unpacked."""
    yield OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB) + BOMB


async def loop(hostile: Hostile) -> AsyncIterator[bytes]:
    """A redirect to itself."""
    yield redirect(hostile.at("loop"))


async def inward(_: Hostile) -> AsyncIterator[bytes]:
    """A redirect to a private address, which must only ever be judged."""
    yield redirect("http://10.0.0.1/")


async def elsewhere(_: Hostile) -> AsyncIterator[bytes]:
    """A redirect to another scheme."""
    yield redirect("file:///etc/passwd")


async def nowhere(_: Hostile) -> AsyncIterator[bytes]:
    """A redirect to what is no URL."""
    yield redirect("http://[::1")


async def switched(_: Hostile) -> AsyncIterator[bytes]:
    """A change of protocol that nobody asked for."""
    yield b"HTTP/1.1 101 S\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"


async def garbage(_: Hostile) -> AsyncIterator[bytes]:
    """What is not HTTP."""
    yield bytes(range(256)) * 64


async def closed(_: Hostile) -> AsyncIterator[bytes]:
    """The end, at once."""
    return
    yield b""


async def broken_off(_: Hostile) -> AsyncIterator[bytes]:
    """Half of what was announced."""
    yield OK + b"Content-Length: 1000\r\n\r\nhalf"


async def announced(_: Hostile) -> AsyncIterator[bytes]:
    """More announced than anyone can have."""
    yield OK + b"Content-Length: 99999999999999\r\n\r\n"


BEHAVIOURS: dict[str, Behaviour] = {
    each.__name__: each
    for each in (
        silent,
        slow_head,
        slow_body,
        endless_body,
        endless_chunks,
        endless_interim,
        endless_head,
        bomb,
        loop,
        inward,
        elsewhere,
        nowhere,
        switched,
        garbage,
        closed,
        broken_off,
        announced,
    )
}


@contextmanager
def hostile() -> Iterator[Hostile]:
    """Every behaviour for as long as the block lasts."""
    state, loop, ready = Hostile(), asyncio.new_event_loop(), threading.Event()
    stopped = asyncio.Event()

    async def serve() -> None:
        server = await asyncio.start_server(answering(state), "127.0.0.1", 0)
        state.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        ready.set()
        await stopped.wait()
        server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def run() -> None:
        loop.run_until_complete(serve())
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    ready.wait()
    try:
        yield state
    finally:
        loop.call_soon_threadsafe(stopped.set)
        thread.join()


def answering(
    state: Hostile,
) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    """What to do with a connection."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        state.num_open += 1
        state.most_open = max(state.most_open, state.num_open)
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            head = await reader.readuntil(b"\r\n\r\n")
            state.heads.append(head)
            name = head.split(b" ")[1].decode().strip("/").partition("?")[0]
            async for piece in BEHAVIOURS[name](state):
                writer.write(piece)
                await writer.drain()
                state.num_sent += len(piece)
                if writer.transport.is_closing():
                    break
        state.num_open -= 1
        writer.transport.abort()

    return answer
