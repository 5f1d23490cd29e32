"""The whole application on the small engine, as a process that can be killed.

`python -m tests.runs.server PORT DATA [DATABASE]`, with settings in the environment as ever.
`STEP_SECONDS` is how long a step takes; `DRAWN` names a file that every drawing is noted in,
`HEARTBEAT` one for every time that the event loop was held. `ENGINE=emoji` draws in earnest,
`replicas` in processes of their own.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import httpx
import msgspec

from gateway.app import create_app
from gateway.catalog.bundle import served_collection
from gateway.catalog.catalog import Catalog
from gateway.catalog.collection import Collection
from gateway.engine.protocol import Engine
from gateway.job import Event, Job
from gateway.settings import Settings, read_settings
from gateway.web.server.ports import bound_sockets
from gateway.web.server.server import Server
from tests.runs.heartbeat import begin_heartbeat
from tests.runs.postgres import free_port
from tests.small_engine import TestEngine, small_catalog

START_SECONDS = 600
LAST_LINES = 100


def main(port: str, data: str, database: str = "") -> None:
    """Serve until killed."""
    settings = read_settings(
        {
            "data": Path(data),
            "port": int(port),
            "database": database or None,
            "url_allow": ("127.0.0.1",),
        }
    )
    engine, catalog = _engine_and_catalog(settings)
    app = create_app(settings, engine, catalog)
    if path := os.environ.get("HEARTBEAT"):
        app.on_startup.append(partial(begin_heartbeat, Path(path)))
    with bound_sockets(settings) as sockets:
        Server(lambda: (app, engine), settings).run(sockets)


def _engine_and_catalog(settings: Settings) -> tuple[Engine, Catalog | Collection]:
    if os.environ.get("ENGINE") == "emoji":
        from gateway.engine.local import LocalEngine  # noqa: PLC0415  torch takes seconds

        catalog = served_collection(settings)
        return LocalEngine(catalog, settings), catalog
    step_seconds = float(os.environ.get("STEP_SECONDS", "0.01"))
    if os.environ.get("ENGINE") == "replicas":
        from tests.runs.replicas import engine_of_replicas  # noqa: PLC0415  Ray takes seconds

        return engine_of_replicas(small_catalog(), settings, step_seconds), small_catalog()
    drawn = Path(os.environ.get("DRAWN", os.devnull))
    return NotingEngine(step_seconds, drawn), small_catalog()


class Drawing(msgspec.Struct, frozen=True):
    """One drawing of a job, from its beginning to its end, in monotonic seconds."""

    job_id: str
    pid: int
    began: float
    ended: float


class NotingEngine(TestEngine):
    """Notes every drawing in a file that several processes may share."""

    def __init__(self, step_seconds: float, drawn: Path) -> None:
        super().__init__(step_seconds)
        self.drawn = drawn.open("ab", buffering=0)

    async def _events(self, job: Job) -> AsyncGenerator[Event, None]:
        began = time.monotonic()
        try:
            async for event in super()._events(job):
                yield event
        finally:
            drawing = Drawing(job.id, os.getpid(), began, time.monotonic())
            self.drawn.write(msgspec.json.encode(drawing) + b"\n")


class Process:
    """A process of the application on one port, started, killed and started again.

    `wrapper` is a command that runs it, as `prlimit`; `environment` is added to this one's.
    """

    def __init__(
        self,
        data: Path,
        database: str | None = None,
        *,
        port: int = 0,
        wrapper: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.data = data
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = data.parent / "server.log"
        arguments = [str(self.port), str(data), database or ""]
        self._command = [*wrapper, sys.executable, "-m", "tests.runs.server", *arguments]
        self._environment = os.environ | {"PYTHONFAULTHANDLER": "1"} | dict(environment or {})
        self._running: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The number of the process that runs now."""
        assert self._running is not None
        return self._running.pid

    @property
    def is_running(self) -> bool:
        """Whether it has been started and has not ended."""
        return self._running is not None and self._running.poll() is None

    @property
    def last_words(self) -> str:
        """Whether it runs or how it ended, and the end of its log."""
        status = self._running and self._running.poll()
        said = self.log.read_text(errors="replace").splitlines()[-LAST_LINES:]
        return "\n".join([f"{self.url}: exit status {status}, and last", *said])

    def start(self) -> None:
        """Start it, without waiting for its first answer."""
        with self.log.open("ab") as log:
            self._running = subprocess.Popen(
                self._command, stdout=log, stderr=log, env=self._environment
            )

    def answers(self) -> bool:
        """Whether it answers now.

        Raises:
            AssertionError: it has ended.
        """
        assert self.is_running, f"the server ended at once; see {self.log}"
        with suppress(httpx.TransportError):
            # A page of the application: that it lives is said before there is one.
            return httpx.get(self.url, timeout=5).is_success
        return False

    def wait_for(self) -> None:
        """Wait for its first answer."""
        deadline = time.monotonic() + START_SECONDS
        while not self.answers():
            if time.monotonic() > deadline:
                raise TimeoutError("the server did not answer")
            time.sleep(0.05)

    def begin(self) -> None:
        """Start it, and wait for its first answer."""
        self.start()
        self.wait_for()

    def kill(self) -> None:
        """End it without a word, whatever it is doing."""
        if self._running is not None:
            self._running.send_signal(signal.SIGKILL)
            self._running.wait()

    def stop(self, seconds: float = 60) -> int:
        """Ask it to end, and return its exit status."""
        assert self._running is not None
        self._running.terminate()
        return self._running.wait(seconds)


@contextmanager
def process(
    port: int, data: Path, database: str | None = None, step_seconds: float = 0.01
) -> Iterator[Process]:
    """The server as a process that answers; killed when the block ends."""
    environment = {"STEP_SECONDS": str(step_seconds)}
    server = Process(data, database, port=port, environment=environment)
    try:
        server.begin()
        yield server
    finally:
        server.kill()


if __name__ == "__main__":
    main(*sys.argv[1:])
