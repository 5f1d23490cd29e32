"""A real PostgreSQL for the tests, from Debian's package, in a folder of its own."""

import os
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.programs import program

USER = "postgres"


def binaries() -> Path:
    """Where the server's programs are."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    return Path(program("initdb", package="postgresql")).resolve().parent


class Server:
    """A running server that makes a database per test."""

    def __init__(self, port: int, programs: Path, control: list[str], start: list[str]) -> None:
        self.port = port
        self.programs = programs
        self._control = control
        self._start = start

    def start(self) -> None:
        """Start it, and wait until it answers."""
        _run([*self._control, *self._start, "start"])

    def stop(self, mode: str = "fast") -> None:
        """End it: `fast` breaks connections off, `immediate` is a crash."""
        _run([*self._control, "-m", mode, "stop"])

    def new_database(self) -> str:
        """The URL of an empty database."""
        name = f"test_{uuid.uuid4().hex}"
        address = ["-h", "127.0.0.1", "-p", str(self.port), "-U", USER]
        subprocess.run([self.programs / "createdb", *address, name], check=True)
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{name}"


@contextmanager
def running(*settings: str) -> Iterator[Server]:
    """Start a server with settings as `NAME=VALUE`, and stop it when the block ends."""
    programs, port = binaries(), free_port()
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    as_user: list[str] = []
    if os.getuid() == 0:  # the server refuses to run as root
        shutil.chown(folder, USER)
        as_user = ["runuser", "-u", USER, "--"]
    data = folder / "data"
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c max_connections=300"
    options += "".join(f" -c {setting}" for setting in settings)
    control = [*as_user, str(programs / "pg_ctl"), "-D", str(data), "-w"]
    initdb = [str(programs / "initdb"), "-D", str(data), "-U", USER, "-A", "trust", "-N"]
    _run([*as_user, *initdb])
    server = Server(port, programs, control, ["-l", str(folder / "log"), "-o", options])
    server.start()
    try:
        yield server
    finally:
        server.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/")


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        port: int = door.getsockname()[1]
        return port
