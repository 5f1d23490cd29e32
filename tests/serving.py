"""A real gateway on a free port of this machine: as a process, or an application in a thread."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn
from litestar import Litestar

ROOT = Path(__file__).parents[1]
START_SECONDS = 120
COMMAND = (str(Path(sys.executable).with_name("gateway")),)
ENVIRONMENT = os.environ | {"HF_HUB_OFFLINE": "1"}


class Server:
    """A gateway process, its address and a key that it knows."""

    def __init__(self, data: Path, arguments: tuple[str, ...], key: str = "") -> None:
        self.key = key
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = data / "log"
        settings = ["--port", str(self.port), "--data", str(data), "--threads", "1"]
        settings += ["--drain-seconds", "0"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*COMMAND, "serve", *arguments, *settings],
                cwd=ROOT, env=ENVIRONMENT, stdout=log, stderr=log,
            )

    def wait_for(self, path: str) -> None:
        """Wait until a path answers 200; the process's log is the failure."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                if httpx.get(self.url + path).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        pytest.fail(f"the gateway did not answer {path}:\n{self.log.read_text()}")

    def stop(self) -> int:
        """Ask the process to end and return its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)


@contextmanager
def serving(data: Path, *arguments: str, key: str = "") -> Iterator[Server]:
    """Run a gateway until the block ends, preloaded and ready."""
    server = Server(data, (*arguments, "--preload"), key)
    try:
        server.wait_for("/health/ready")
        yield server
    finally:
        server.stop()


@contextmanager
def listening(app: Litestar) -> Iterator[str]:
    """Serve an application from a thread until the block ends; yields its address."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the application did not start"
            time.sleep(0.01)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


def new_key(data: Path, *options: str) -> str:
    """Create a key with the command line and return its secret."""
    made = subprocess.run(
        [*COMMAND, "keys", "create", "tester", "--data", str(data), *options],
        cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=True,
    )
    return made.stdout.strip()


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
    return port
