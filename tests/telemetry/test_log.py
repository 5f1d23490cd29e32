"""The log is JSON, a line a record, whoever writes it."""

import json
import os
import pty
import subprocess
import sys
from typing import Any

import pytest

LOGGING = """
import logging, structlog
from gateway.telemetry.log import configure_logs
configure_logs()
structlog.contextvars.bind_contextvars(request_id="req_1")
structlog.get_logger().info("drawn", seed=7)
logging.getLogger("uvicorn.error").info("Started %s", "here")
logging.getLogger("uvicorn.access").info("an access line")
structlog.get_logger().debug("a detail")
try:
    1 / 0
except ZeroDivisionError:
    logging.getLogger("other").exception("broke\\nin two")
"""


def lines() -> list[dict[str, Any]]:
    ran = subprocess.run(
        [sys.executable, "-c", LOGGING], capture_output=True, text=True, check=True
    )
    assert ran.stdout == ""
    return [json.loads(line) for line in ran.stderr.splitlines()]


@pytest.mark.parametrize("closed", ["2>&-", "2>/dev/full"])
def test_a_log_that_cannot_be_written_ends_nothing(closed: str) -> None:
    command = ["sh", "-c", f'exec "$0" -c "$1" {closed}', sys.executable, LOGGING + "print(7)"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.stdout == "7\n"


FLOOD = """
import logging, structlog
from gateway.telemetry.log import configure_logs
configure_logs()
log = structlog.get_logger()
for number in range(1500):
    log.info("flood", number=number, text="x" * 4000)
print("done", flush=True)
input()
log.info("last")
"""


def test_a_reader_that_stops_reading_holds_nothing_up() -> None:
    """And is told, when it reads again, how much it has missed."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", FLOOD], stdin=pipe, stdout=pipe, stderr=pipe, text=True
    ) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        assert program.stdout.readline() == "done\n"
        _, said = program.communicate("\n", timeout=20)
    events = [json.loads(line)["event"] for line in said.splitlines()]
    [dropped] = [event for event in events if "dropped" in event]
    written = events.count("flood") + events.count("last")
    assert int(dropped.split()[0]) + written == 1501


def test_a_reader_that_stopped_reading_does_not_hold_up_the_end() -> None:
    program = FLOOD.replace("input()", "")
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as stuck:
        assert stuck.wait(timeout=20) == 0


def test_on_a_terminal_a_traceback_shows_no_locals() -> None:
    ours, theirs = pty.openpty()
    program = LOGGING.replace("1 / 0", "secret = 'of a local'; 1 / 0")
    subprocess.run([sys.executable, "-c", program], stderr=theirs, check=True)
    os.close(theirs)
    seen = os.read(ours, 1 << 20).decode()
    os.close(ours)
    assert "ZeroDivisionError" in seen
    assert "of a local" not in seen


def test_every_record_is_one_object_with_the_requests_id() -> None:
    drawn, started, broke = lines()
    assert (drawn["event"], drawn["seed"], drawn["level"]) == ("drawn", 7, "info")
    assert (started["event"], started["level"]) == ("Started here", "info")
    assert (broke["event"], broke["level"]) == ("broke\nin two", "error")
    assert "ZeroDivisionError" in broke["exception"]
    for line in (drawn, started, broke):
        assert line["request_id"] == "req_1"
        assert line["timestamp"].endswith("Z")
