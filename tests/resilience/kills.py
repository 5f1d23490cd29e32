"""SIGKILL at random moments under mixed load."""

import asyncio
import random
import time
from pathlib import Path

from tests.resilience.house import tormented
from tests.resilience.row import Row
from tests.runs.server import Process

PROMISE = (
    "what was accepted ends, once, with the picture asked for; webhooks all, signed, in order; "
    "no place held; the database whole"
)
START_SHARE = 0.2
"""Of the kills come while the process starts, and takes up what the last one left."""


async def kills(folder: Path, database: str | None, num_kills: int, seed: int = 1) -> Row:
    """Kill a process so often, then let one finish what is left."""
    crashes: list[float] = []
    process = Process(folder / "data", database, environment={"GATEWAY_URL_MINUTES": "600"})
    async with tormented(folder, database, seed=seed, processes=[process]) as house:
        async with house.load.running() as ledger:
            for _ in range(num_kills):
                await _one_life(process, random.Random(seed + len(crashes)))
                crashes.append(time.time())
        await asyncio.to_thread(process.begin)
        began = time.monotonic()
        faults = await house.faults(crashes)
        seconds = time.monotonic() - began
        given_up = house.num_failed()
        told = sum(len(receiver.taken) for receiver in house.receivers)
    return Row(
        f"{num_kills} kills; {ledger.told()}",
        PROMISE,
        f"{len(ledger.runs)} runs, {len(ledger.batches)} batches, {told} webhooks, "
        f"{ledger.num_broken_off} requests broken off; {given_up} runs given up, which were in "
        f"flight at three crashes; settled and checked in {seconds:.0f} s",
        tuple(faults),
    )


async def _one_life(process: Process, chance: random.Random) -> None:
    if chance.random() < START_SHARE:
        process.start()
        await asyncio.sleep(chance.uniform(0.5, 2.0))
    else:
        await asyncio.to_thread(process.begin)
        await asyncio.sleep(chance.uniform(0.0, 2.0))
    process.kill()
