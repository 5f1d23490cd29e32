"""SIGKILL at random moments under mixed load."""

import asyncio
import random
import time
from pathlib import Path

from tests.resilience.house import House, tormented
from tests.resilience.row import Row

PROMISE = (
    "what was accepted ends, once, with the picture asked for; webhooks all, signed, in order; "
    "no place held; the database whole"
)
START_SHARE = 0.2
"""Of the kills come while the process starts, and takes up what the last one left."""


async def kills(folder: Path, database: str | None, num_kills: int, seed: int = 1) -> Row:
    """Kill a process so often, then let one finish what is left."""
    crashes: list[float] = []
    async with tormented(folder, database, seed=seed) as house:
        async with house.load.running() as ledger:
            for _ in range(num_kills):
                await _one_life(house, random.Random(seed + len(crashes)))
                crashes.append(time.time())
        await asyncio.to_thread(house.processes[0].begin)
        began = time.monotonic()
        faults = await house.faults(crashes)
        seconds = time.monotonic() - began
        told = sum(len(receiver.taken) for receiver in house.receivers)
    return Row(
        f"{num_kills} kills; {ledger.told()}",
        PROMISE,
        f"{len(ledger.runs)} runs, {len(ledger.batches)} batches, {told} webhooks, "
        f"{ledger.num_broken_off} requests broken off; settled and checked in {seconds:.0f} s",
        tuple(faults),
    )


async def _one_life(house: House, chance: random.Random) -> None:
    (process,) = house.processes
    if chance.random() < START_SHARE:
        process.start()
        await asyncio.sleep(chance.uniform(0.5, 2.0))
    else:
        await asyncio.to_thread(process.begin)
        await asyncio.sleep(chance.uniform(0.0, 2.0))
    process.kill()
