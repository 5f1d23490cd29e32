"""Clocks that jump by weeks and back while work is done, by libfaketime."""

import asyncio
import time
from collections.abc import Sequence
from glob import glob
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.programs import program
from tests.resilience.house import tormented
from tests.resilience.row import Row
from tests.runs.server import Process

LIBRARY = "/usr/lib/*/faketime/libfaketime*.so.1"
JUMPS_DAYS = (40, -40)


async def clocks(
    folder: Path, database: str | None, *, rounds: int, seconds: float, restarts: bool
) -> Row:
    """Jump ahead and back, right again after each; `restarts` while the clock is wrong, too."""
    program("faketime", package="faketime")
    stamp = folder / "clock"
    environment = {
        "LD_PRELOAD": _library(),
        "FAKETIME_TIMESTAMP_FILE": str(stamp),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    stamp.write_text("+0")
    process = Process(folder / "data", database, environment=environment)
    async with tormented(folder, database, processes=[process]) as house:
        for receiver in house.receivers:
            receiver.any_time = True
        await asyncio.to_thread(process.begin)
        async with house.load.running() as ledger:
            for days in _itinerary(rounds):
                stamp.with_suffix(".new").write_text(f"{days:+d}d")
                stamp.with_suffix(".new").replace(stamp)
                if restarts and days:
                    process.kill()
                    await asyncio.to_thread(process.begin)
                await asyncio.sleep(seconds)
        # A URL that was given out by a clock weeks behind has expired since.
        ledger.pictures = {
            url: seed for url, seed in ledger.pictures.items() if _expiry(url) > time.time()
        }
        faults = await house.faults()
    jumps = 2 * rounds * len(JUMPS_DAYS)
    return Row(
        f"{jumps} jumps of {JUMPS_DAYS[0]} days, ahead, back and right again, {seconds:g} s apart"
        f"{', each followed by a kill' if restarts else ''}; {ledger.told()}",
        "nothing fresh is deleted, nothing expires or waits for ever; accepted work ends, once",
        f"{len(ledger.runs)} runs, {len(ledger.batches)} batches, {len(ledger.kept)} uploads and "
        f"{len(ledger.pictures)} pictures all there",
        tuple(faults),
    )


def _expiry(url: str) -> float:
    """When a picture's URL expires, in seconds since the epoch."""
    return float(parse_qs(urlsplit(url).query)["expires"][0])


def _itinerary(rounds: int) -> Sequence[int]:
    """How many days the clock is wrong, one after another."""
    return [day for _ in range(rounds) for jump in JUMPS_DAYS for day in (jump, 0)]


def _library() -> str:
    """Where libfaketime is, the one for programs of many threads."""
    found = sorted(glob(LIBRARY))
    if not found:
        pytest.fail("faketime is installed without its library")
    return found[-1]
