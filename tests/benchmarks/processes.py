"""The servers that are compared, each a process; those that are not measured are stopped."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.benchmarks.load import drive
from tests.benchmarks.workload import adapters_of
from tests.facts import cpu_seconds, descendants, resident_mib
from tests.serving import ENVIRONMENT, ROOT, Server, free_port


class Contender:
    """A server's name, its address, and all of its processes."""

    def __init__(self, name: str, url: str, pid: int) -> None:
        self.name = name
        self.url = url
        self._pid = pid

    @property
    def cpu_seconds(self) -> float:
        """The processor time it has used."""
        return sum(map(cpu_seconds, self._pids))

    @property
    def resident_mib(self) -> float:
        """The memory it has."""
        return sum(map(resident_mib, self._pids))

    def stop(self) -> None:
        """Let it do nothing until it goes on."""
        self._tell(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it work."""
        self._tell(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once."""
        self._tell(signal.SIGKILL)

    @contextmanager
    def awake(self) -> Iterator["Contender"]:
        """Let it work until the block ends."""
        self.go_on()
        try:
            yield self
        finally:
            self.stop()

    @property
    def _pids(self) -> list[int]:
        return [self._pid, *descendants(self._pid)]

    def _tell(self, number: signal.Signals) -> None:
        for pid in self._pids:
            os.kill(pid, number)


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
        self.contender = Contender("gateway", self.server.url, self.server.process.pid)


@contextmanager
def gateway(arguments: tuple[str, ...]) -> Iterator[Starting]:
    """A gateway until the block ends."""
    with tempfile.TemporaryDirectory() as data:
        starting = Starting(Path(data), arguments)
        try:
            yield starting
        finally:
            starting.contender.go_on()
            starting.server.stop()


def arguments_for(weights: Path, device: str) -> tuple[str, ...]:
    """What serves a saved pipeline and its adapters."""
    models, adapters = str(weights.parent), str(adapters_of(weights))
    return "tiny", "--models", models, "--adapters", adapters, "--device", device


@contextmanager
def locking(weights: Path, device: str) -> Iterator[Contender]:
    """The server that people write first, until the block ends."""
    port = free_port()
    command = ["tests.benchmarks.locking", str(weights), str(port), device, "1"]
    with _running("locking server", command, port, {}) as contender:
        yield contender


@contextmanager
def batching(weights: Path, device: str, wait_ms: int) -> Iterator[Contender]:
    """The server that a careful user writes, until the block ends."""
    port = free_port()
    command = ["tests.benchmarks.batching", "--address", "127.0.0.1", "--port", str(port)]
    more = {
        "WEIGHTS": str(weights), "ADAPTERS": str(adapters_of(weights)), "DEVICE": device,
        "WAIT_MS": str(wait_ms),
    }
    with _running(f"mosec, {wait_ms} ms", command, port, more) as contender:
        yield contender


@contextmanager
def _running(
    name: str, command: list[str], port: int, more: dict[str, str]
) -> Iterator[Contender]:
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *command], cwd=ROOT, env=ENVIRONMENT | more,
            stdout=log, stderr=log,
        )
        contender = Contender(name, f"http://127.0.0.1:{port}", process.pid)
        try:
            if not _answers(contender, process):
                log.seek(0)
                raise RuntimeError(f"{name} ended:\n{log.read().decode()}")
            yield contender
        finally:
            if process.poll() is None:
                contender.go_on()
                process.terminate()
                process.wait(60)


def bare_seconds(weights: Path, device: str) -> float:
    """How long a script takes that loads the pipeline, draws one picture and ends."""
    script = (
        "import sys, torch; torch.set_num_threads(1)\n"
        "from pathlib import Path\n"
        "from tests.benchmarks.bare import BarePipeline\n"
        "BarePipeline(Path(sys.argv[1]), sys.argv[2]).png()"
    )
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", script, str(weights), device], cwd=ROOT, env=ENVIRONMENT,
        check=True, stderr=subprocess.DEVNULL,
    )
    return time.perf_counter() - started


def _answers(contender: Contender, process: "subprocess.Popen[bytes]") -> bool:
    """Whether it draws a picture, which is waited for, rather than ends."""
    while process.poll() is None:
        try:
            drive(contender.url, 1, 1)
        except httpx.HTTPError:
            time.sleep(0.2)
        else:
            return True
    return False
