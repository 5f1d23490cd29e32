"""The whole application on the small engine, as a process that can be killed.

`python -m tests.runs.server PORT DATA [DATABASE]`
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import uvicorn

from gateway.app import create_app
from gateway.settings import Settings
from tests.runs.drawing import TestEngine, small_catalog

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


@contextmanager
def process(
    port: int, data: Path, database: str | None = None, step_seconds: float = 0.01
) -> Iterator[subprocess.Popen[bytes]]:
    """The server as a process that answers; killed when the block ends."""
    command = [sys.executable, "-m", "tests.runs.server", str(port), str(data), database or ""]
    environment = os.environ | {"STEP_SECONDS": str(step_seconds)}
    with (data.parent / "server.log").open("ab") as log:
        running = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    try:
        _wait(port, running)
        yield running
    finally:
        running.send_signal(signal.SIGKILL)
        running.wait()


def _wait(port: int, running: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert running.poll() is None, "the server ended at once; see server.log"
        try:
            if httpx.get(f"http://127.0.0.1:{port}/api/models").is_success:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise TimeoutError("the server did not answer")


if __name__ == "__main__":
    main(*sys.argv[1:])
