"""What needs a core for a minute and nothing else, begun beside all tests: mypy.

Tests that wait for servers leave a core idle now and then; there it runs, and is waited for in a
test of its own.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import mkdtemp

ROOT = Path(__file__).parents[1]
MYPY = Path(sys.executable).with_name("mypy")
BEGUN = "TESTS_MYPY"
"""Names, for the processes that tests run in, the folder where it ends."""

SCRIPT = 'nice -n 5 "$0" > "$1/said" 2>&1; echo $? > "$1/ended" && mv "$1/ended" "$1/status"'
SECONDS = 1800


def begin() -> subprocess.Popen[bytes]:
    """Begin it, in the process that the others come from."""
    folder = os.environ[BEGUN] = mkdtemp()
    command = ["sh", "-c", SCRIPT, str(MYPY), folder]
    return subprocess.Popen(command, cwd=ROOT, start_new_session=True)


def end(begun: subprocess.Popen[bytes]) -> None:
    """Leave nothing behind, whether or not it is done."""
    if begun.poll() is None:
        os.killpg(begun.pid, signal.SIGTERM)
    begun.wait()
    shutil.rmtree(os.environ.pop(BEGUN))


def mypy() -> tuple[int, str]:
    """Its exit status and what it said; begun now where it was not before."""
    if (begun := os.environ.get(BEGUN)) is None:
        done = subprocess.run([MYPY], cwd=ROOT, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr
    status, deadline = Path(begun, "status"), time.monotonic() + SECONDS
    while not status.exists():
        assert time.monotonic() < deadline, "mypy did not end"
        time.sleep(0.1)
    return int(status.read_text()), Path(begun, "said").read_text()
