"""The processes that draw, killed and stopped under mixed load, one after another."""

import asyncio
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import httpx

from tests.facts import named
from tests.resilience.house import House, tormented
from tests.resilience.ledger import Owner, new_owner
from tests.resilience.row import Row
from tests.runs.server import Process

SILENT_SECONDS = 3.0
"""After which a replica that says nothing is replaced."""

BACK_SECONDS = 300.0
NUM_REPLICAS = 2

Strike = Callable[["Ring", random.Random], Awaitable[None]]


class Ring:
    """A front and its replicas, as an operator sees them."""

    def __init__(self, process: Process, operator: Owner) -> None:
        self.process = process
        self.operator = operator

    async def processes(self) -> set[int]:
        """Of the replicas that stand ready; waits until all do."""
        deadline = time.monotonic() + BACK_SECONDS
        while len(found := await self._ready()) < NUM_REPLICAS:
            if time.monotonic() > deadline:
                raise TimeoutError(f"no {NUM_REPLICAS} replicas:\n{self.process.last_words}")
            await asyncio.sleep(0.1)
        return found

    async def _ready(self) -> set[int]:
        async with httpx.AsyncClient(timeout=5) as client:
            try:
                answer = await client.get(
                    f"{self.process.url}/status.json", headers=self.operator.headers
                )
            except httpx.TransportError:
                return set()
        replicas: list[dict[str, Any]] = answer.json()["engine"].get("replicas", [])
        return {one["process"] for one in replicas if one["standing"] == "ready"}


async def kill(ring: Ring, chance: random.Random) -> None:
    """SIGKILL one of those that draw, and wait until another is in its place."""
    struck = chance.choice(sorted(await ring.processes()))
    os.kill(struck, signal.SIGKILL)
    await _replaced(ring, struck)


async def pause(ring: Ring, chance: random.Random) -> None:
    """Stop one for less than it is waited for, or for good."""
    struck = chance.choice(sorted(await ring.processes()))
    os.kill(struck, signal.SIGSTOP)
    if chance.random() < 0.5:
        await asyncio.sleep(chance.uniform(0.1, SILENT_SECONDS / 3))
        os.kill(struck, signal.SIGCONT)
        await ring.processes()
    else:
        await _replaced(ring, struck)


async def end_ray(ring: Ring, chance: random.Random) -> None:
    """SIGKILL one of Ray's own processes, and wait until another Ray has its replicas."""
    before = await ring.processes()
    [struck] = named(chance.choice(("raylet", "gcs_server")), ring.process.pid)
    os.kill(struck, signal.SIGKILL)
    while before & await ring.processes():
        await asyncio.sleep(0.05)


async def struck(folder: Path, strikes: Sequence[Strike], done: str, seed: int = 1) -> Row:
    """Strike under load, one after another, then see what became of what was promised."""
    chance = random.Random(seed)
    environment = {
        "ENGINE": "replicas", "SILENT_SECONDS": f"{SILENT_SECONDS}", "STEP_SECONDS": "0.05"
    }  # fmt: skip
    process = Process(folder / "data", environment=environment)
    operator, _ = new_owner(folder / "data", "operator", operator=True)
    async with tormented(folder, seed=seed, processes=[process]) as house:
        await asyncio.to_thread(process.begin)
        ring = Ring(process, operator)
        await ring.processes()
        house.load.pause_seconds = (0.0, 0.1)
        house.load.patience_seconds = BACK_SECONDS
        async with house.load.running() as ledger:
            for strike in strikes:
                await asyncio.sleep(chance.uniform(0.2, 1.0))
                await strike(ring, chance)
        faults = await house.faults() + house.ended() + failures(house)
        redrawn = await _redrawn(ring)
        status = await asyncio.to_thread(process.stop)
    if status:
        faults.append(f"the front ended with {status}")
    return Row(
        f"{done}; {ledger.told()}",
        "what was accepted ends, once, and no request fails: all of it is drawn by who is left",
        f"{len(ledger.runs)} runs, {len(ledger.batches)} batches; {redrawn:.0f} samples begun "
        f"again elsewhere; {ledger.num_broken_off} requests broken off, {ledger.num_unavailable} "
        "told that nobody draws",
        tuple(faults),
    )


def failures(house: House) -> list[str]:
    """What clients should not have seen, with a replica left."""
    ledger = house.load.ledger
    found = {
        "runs failed": house.num_failed(),
        "requests were broken off": ledger.num_broken_off,
        "requests were told that nobody draws": ledger.num_unavailable,
    }
    return [f"{number} {what}" for what, number in found.items() if number]


async def _replaced(ring: Ring, struck: int) -> None:
    while struck in await ring.processes():
        await asyncio.sleep(0.05)


async def _redrawn(ring: Ring) -> float:
    async with httpx.AsyncClient(timeout=5) as client:
        answer = await client.get(f"{ring.process.url}/metrics", headers=ring.operator.headers)
    lines = (line.split() for line in answer.text.splitlines() if line[:1] != "#")
    return sum(float(value) for name, value, *_ in lines if name == "gateway_redrawn_total")
