"""A disk that is full for a while: a small file system where one may be had.

`python -m tests.resilience.disk FOLDER TIMES SECONDS` runs the scenario in a mount namespace
of its own, prints its row as JSON, and leaves nothing mounted.
"""

import asyncio
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import msgspec

from tests.resilience.house import tormented
from tests.resilience.row import Row
from tests.runs.server import Process

SIZE_MIB = 64
AT_WORK_SECONDS = 3.0
UNSHARE = ["unshare", "--user", "--map-root-user", "--mount"]
PIECE = bytes(1 << 16)
Full = Callable[[Process], AbstractContextManager[None]]
"""Leaves a process no room for as long as a block lasts."""


async def full_disk(folder: Path, times: int, seconds: float) -> Row:
    """Fill the disk under load, hold it full, and free it again, so often."""
    if not may_mount():
        how = "no file may grow (RLIMIT_FSIZE, as no file system may be mounted here)"
        return await _tormented(folder, limited, how, times, seconds)
    arguments = [str(folder), str(times), str(seconds)]
    command = [*UNSHARE, sys.executable, "-m", "tests.resilience.disk", *arguments]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    told, _ = await process.communicate()
    assert process.returncode == 0, "the scenario ended with an error"
    return msgspec.json.decode(told, type=Row)


async def _tormented(folder: Path, full: Full, how: str, times: int, seconds: float) -> Row:
    async with tormented(folder) as house:
        (process,) = house.processes
        await asyncio.to_thread(process.begin)
        async with house.load.running() as ledger:
            for _ in range(times):
                await asyncio.sleep(AT_WORK_SECONDS)
                with full(process):
                    await asyncio.sleep(seconds)
            before = sum(ledger.answered.values())
            await asyncio.sleep(AT_WORK_SECONDS)
            after = sum(ledger.answered.values()) - before
        faults = await house.faults()
    if not after:
        faults.append("nobody was answered once there was room again")
    return Row(
        f"{how}, {times} × {seconds:g} s under load; {ledger.told()}",
        "what was accepted ends once there is room, without a restart; clients are told to come "
        "later; no place is held; the database is whole",
        f"{len(ledger.runs)} runs, {len(ledger.batches)} batches; {ledger.num_refused} told to "
        f"come later, {ledger.num_broken_off} broken off; {after} requests answered afterwards",
        tuple(faults),
    )


@contextmanager
def filled(process: Process) -> Iterator[None]:
    """Not a byte is free for as long as the block lasts."""
    filler = process.data / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(PIECE)
    try:
        yield
    finally:
        filler.unlink()


@contextmanager
def limited(process: Process) -> Iterator[None]:
    """Writing fails for as long as the block lasts."""
    limits = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (1, limits[1]))
    try:
        yield
    finally:
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, limits)


def may_mount() -> bool:
    """Whether a process of ours may have a file system of its own."""
    if shutil.which("unshare") is None:
        return False
    command = [*UNSHARE, "mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", "/mnt"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def main(folder: str, times: str, seconds: str) -> None:
    """Mount the small file system, which this namespace alone sees, and run the scenario."""
    data = Path(folder) / "data"
    data.mkdir()
    size = f"size={SIZE_MIB}m"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", data], check=True)
    how = f"a file system of {SIZE_MIB} MiB filled to its last byte"
    row = asyncio.run(_tormented(Path(folder), filled, how, int(times), float(seconds)))
    os.write(1, msgspec.json.encode(row))


if __name__ == "__main__":
    main(*sys.argv[1:])
