"""The application on the small engine, behind the real server, in a thread of this process."""

import asyncio
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from litestar import Litestar

from gateway.app import create_app
from gateway.settings import Settings
from gateway.web.server.ports import bound_sockets
from gateway.web.server.server import Server
from tests.small_engine import TestEngine, small_catalog

PATIENCE_SECONDS = 20


class Listening:
    """A server and its loop, which tests reach into for the passing of time alone."""

    def __init__(
        self, settings: Settings, engine: TestEngine, sockets: list[socket.socket]
    ) -> None:
        self.engine = engine
        self.app: Litestar = create_app(settings, engine, small_catalog())
        self.may_open = threading.Event()
        self.may_open.set()
        self.server = Server(self._assembled, settings)
        self.sockets = sockets
        self.port: int = self.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.thread = threading.Thread(target=self._run)

    def _assembled(self) -> tuple[Litestar, TestEngine]:
        assert self.may_open.wait(PATIENCE_SECONDS)
        return self.app, self.engine

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self.loop = asyncio.get_running_loop()
        await self.server.serve(self.sockets)

    def start(self) -> None:
        """Serve from now on."""
        self.start_to_listen()
        wait_until(lambda: self.server.threshold.app is not None)

    def start_to_listen(self) -> None:
        """Take connections from now on."""
        self.thread.start()
        wait_until(lambda: self.server.started)

    def stop(self) -> None:
        """What SIGTERM does."""
        self.server.handle_exit(signal.SIGTERM, None)

    def pass_seconds(self, seconds: float) -> None:
        """Let it be so much later, and the server look at its connections."""
        hall, done = self.server.hall, threading.Event()
        then = hall.clock

        def sweep() -> None:
            hall.clock = lambda: then() + seconds
            hall.sweep()
            done.set()

        self.loop.call_soon_threadsafe(sweep)
        assert done.wait(PATIENCE_SECONDS)

    @property
    def num_connections(self) -> int:
        """How many connections are open."""
        return len(self.server.hall.connections)

    def link(self, sent: bytes = b"", *, receive_bytes: int | None = None) -> "Link":
        """A new connection that has sent something."""
        return Link(self.port, sent, receive_bytes)


class Link:
    """One connection of a client that minds no rules."""

    def __init__(self, port: int, sent: bytes, receive_bytes: int | None) -> None:
        self.socket = socket.socket()
        if receive_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.settimeout(PATIENCE_SECONDS)
        self.socket.connect(("127.0.0.1", port))
        self.send(sent)

    def __enter__(self) -> "Link":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send bytes; a peer that is gone does not matter here."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self.socket.sendall(data)

    def read_until(self, end: bytes) -> bytes:
        """What comes until some bytes, or until the other side closes."""
        found = b""
        while end not in found:
            piece = self._receive()
            if not piece:
                break
            found += piece
        return found

    def read_all(self) -> bytes:
        """What comes until the other side closes."""
        return b"".join(iter(self._receive, b""))

    def _receive(self) -> bytes:
        try:
            return self.socket.recv(65536)
        except ConnectionResetError:
            return b""


@contextmanager
def listening(
    data: Path, *, engine: TestEngine | None = None, **given: object
) -> Iterator[Listening]:
    """A server that answers until the block ends; one at a time, since dbos is one a process."""
    settings = Settings(**{"data": data, "port": 0, "drain_seconds": 0, **given})  # type: ignore[arg-type]
    with bound_sockets(settings) as sockets:
        here = Listening(settings, engine or TestEngine(), sockets)
        here.start()
        try:
            yield here
        finally:
            here.stop()
            here.thread.join(PATIENCE_SECONDS)
            assert not here.thread.is_alive()


def wait_until(is_so: Callable[[], bool]) -> None:
    """Wait for something to become so."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)
