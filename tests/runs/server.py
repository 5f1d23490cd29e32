"""The whole application on the small engine, as a process that can be killed.

`python -m tests.runs.server PORT DATA [DATABASE]`
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import uvicorn

from gateway.app import create_app
from gateway.settings import Settings
from tests.runs.drawing import TestEngine, small_catalog
from tests.runs.postgres import free_port

START_SECONDS = 30


def main(port: str, data: str, database: str = "") -> None:
    """Serve until killed."""
    settings = Settings(
        data=Path(data), port=int(port), database=database or None, url_allow=("127.0.0.1",)
    )
    step_seconds = float(os.environ.get("STEP_SECONDS", "0.01"))
    app = create_app(settings, TestEngine(step_seconds), small_catalog())
    config = uvicorn.Config(app, port=settings.port, log_config=None)
    asyncio.run(uvicorn.Server(config).serve())


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
        self._environment = os.environ | dict(environment or {})
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
            return httpx.get(f"{self.url}/health/live", timeout=5).is_success
        return False

    def wait_for(self) -> None:
        """Wait for its first answer."""
        deadline = time.monotonic() + START_SECONDS
        while not self.answers():
            if time.monotonic() > deadline:
                raise TimeoutError("the server did not answer")
            time.sleep(0.05)

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
        server.start()
        server.wait_for()
        yield server
    finally:
        server.kill()


if __name__ == "__main__":
    main(*sys.argv[1:])
