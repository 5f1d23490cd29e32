"""How long an event loop is held, noted beat by beat in a file."""

import asyncio
import threading
import time
from pathlib import Path

import msgspec

BEAT_SECONDS = 0.005
NOTED_SECONDS = 0.02

_beating: set[asyncio.Task[None]] = set()


class Beat(msgspec.Struct, frozen=True):
    """A beat that came late: when, in monotonic seconds, how late, and of that its own work.

    What is late without the loop's own processor time is the machine's doing, or a lock's.
    """

    at: float
    late_seconds: float
    busy_seconds: float


async def begin_heartbeat(path: Path) -> None:
    """Beat from now on, until the loop ends."""
    task = asyncio.create_task(_beat(path))
    _beating.add(task)


async def _beat(path: Path) -> None:
    clock = time.pthread_getcpuclockid(threading.get_ident())
    last, used = time.monotonic(), time.clock_gettime(clock)
    while True:
        await asyncio.sleep(BEAT_SECONDS)
        now, busy = time.monotonic(), time.clock_gettime(clock)
        late = now - last - BEAT_SECONDS
        if late > NOTED_SECONDS:
            beat = Beat(now, late, busy - used)
            with path.open("ab") as notes:
                notes.write(msgspec.json.encode(beat) + b"\n")
        last, used = now, busy


def beats(path: Path, since: float = 0.0) -> list[Beat]:
    """The late beats noted since a time."""
    lines = path.read_bytes().splitlines() if path.exists() else []
    found = [msgspec.json.decode(line, type=Beat) for line in lines]
    return [beat for beat in found if beat.at >= since]
