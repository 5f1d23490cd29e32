"""The two servers compared, each a process of its own."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.benchmarks.load import drive
from tests.serving import ENVIRONMENT, ROOT, Server, free_port


class Starting:
    """A gateway started now, and the seconds until it was live, ready and had drawn."""

    def __init__(self, data: Path, arguments: tuple[str, ...]) -> None:
        started = time.perf_counter()
        self.server = Server(data, (*arguments, "--preload"))
        self.server.wait_for("/health/live")
        self.live_seconds = time.perf_counter() - started
        self.server.wait_for("/health/ready")
        self.ready_seconds = time.perf_counter() - started
        drive(self.server.url, 1, 1)
        self.drawn_seconds = time.perf_counter() - started


@contextmanager
def gateway(arguments: tuple[str, ...]) -> Iterator[Starting]:
    """A gateway process until the block ends."""
    with tempfile.TemporaryDirectory() as data:
        starting = Starting(Path(data), arguments)
        try:
            yield starting
        finally:
            starting.server.stop()


@contextmanager
def locking(folder: Path, device: str) -> Iterator[str]:
    """The address of a locking server until the block ends."""
    port = free_port()
    arguments = [str(folder), str(port), device, "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.locking", *arguments], cwd=ROOT,
        env=ENVIRONMENT, stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for(url, process)
        yield url
    finally:
        process.terminate()
        process.wait(60)


def bare_seconds(folder: Path, device: str) -> float:
    """How long a script takes that loads the pipeline, draws one picture and ends."""
    script = (
        "import sys, torch; torch.set_num_threads(1)\n"
        "from pathlib import Path\n"
        "from tests.benchmarks.bare import BarePipeline\n"
        "BarePipeline(Path(sys.argv[1]), sys.argv[2]).png()"
    )
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", script, str(folder), device], cwd=ROOT, env=ENVIRONMENT,
        check=True, stderr=subprocess.DEVNULL,
    )
    return time.perf_counter() - started


def _wait_for(url: str, process: "subprocess.Popen[bytes]") -> None:
    while process.poll() is None:
        try:
            httpx.get(f"{url}/health/ready")
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError("the locking server ended")
