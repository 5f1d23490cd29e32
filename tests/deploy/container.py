"""A gateway as its image runs it: a user without rights, a root that is read-only."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.programs import program
from tests.serving import ROOT, Server, free_port

DOCKERFILE = (ROOT / "deploy/Dockerfile").read_text()
(USER,) = re.findall(r"^USER (\d+)$", DOCKERFILE, re.M)
STATE = "/mnt/state"
ENTER = f"""
mount --make-rprivate /
mount -t tmpfs tmpfs /mnt
mkdir {STATE}
mount --bind "$1" {STATE}
mkdir /mnt/tree
mount --bind "$2" /mnt/tree
mount -t tmpfs -o mode=1777 tmpfs /tmp
mkdir -p "$2"
mount --bind /mnt/tree "$2"
mount -o remount,bind,ro /
cd /
shift 2
exec "$@"
"""
READING = "-all,+dac_read_search"
"""To reach a Python that lies in another user's home, which the image's does not."""


class Contained(Server):
    """Such a process, its state in a folder outside."""

    def __init__(self, state: Path, arguments: tuple[str, ...]) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = state.with_suffix(".log")
        enter = [program("unshare", package="util-linux"), "--mount"]
        become: list[str] = []
        if os.getuid() == 0:
            os.chown(state, int(USER), int(USER))
            become = [program("setpriv", package="util-linux"), "--reuid", USER, "--regid", USER,
                      "--clear-groups", "--no-new-privs", "--inh-caps", READING,
                      "--ambient-caps", READING, "--bounding-set", READING]  # fmt: skip
        else:
            enter.append("--map-root-user")
        command = [sys.executable, "-m", "gateway", "serve", "--port", str(self.port), *arguments]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*enter, "sh", "-euc", ENTER, "sh", str(state), str(ROOT), *become, *command],
                env={
                    "PATH": os.environ["PATH"],
                    "PYTHONPATH": str(ROOT),
                    "HOME": STATE,
                    "HF_HUB_OFFLINE": "1",
                    **dict(_places()),
                },
                stdout=log, stderr=log,
            )

    def status(self, name: str) -> list[str]:
        """What the kernel says of the process."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return text.partition(f"{name}:")[2].partition("\n")[0].split()


@contextmanager
def contained(state: Path, *arguments: str) -> Iterator[Contained]:
    """Run one until the block ends, preloaded and ready."""
    server = Contained(state, ("--preload", "--threads", "1", "--drain-seconds", "0", *arguments))
    try:
        server.wait_for("/health/ready")
        yield server
    finally:
        server.stop()


def _places() -> Iterator[tuple[str, str]]:
    """The image's folders, as they are called here."""
    (home,) = re.findall(r"--home-dir (\S+)", DOCKERFILE)
    for name in ("GATEWAY_DATA", "HF_HOME"):
        (place,) = re.findall(rf"{name}=(\S+)", DOCKERFILE)
        yield name, place.replace(home, STATE)
