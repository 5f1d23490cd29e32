"""Webhook receivers that want to hurt whoever tells them something."""

import asyncio
import time
from pathlib import Path

import httpx

from tests.facts import num_descriptors, resident_mib
from tests.resilience.bystander import LIVE, PICTURE, bystanding
from tests.resilience.house import tormented
from tests.resilience.ledger import Owner
from tests.resilience.load import run_body
from tests.resilience.row import Row
from tests.resilience.trap import KINDS, trap

GROWTH_MIB = 128
LONGEST_SECONDS = 5.0


async def hostile_receivers(folder: Path, num_runs: int, seconds: float) -> Row:
    """So many runs told to each kind of receiver, while honest clients and webhooks go on."""
    async with tormented(folder) as house:
        (process,) = house.processes
        await asyncio.to_thread(process.begin)
        owner = house.load.owners[0]
        before = most = resident_mib(process.pid)
        with trap() as hostile:
            async with bystanding(process.url, owner.secret, "tiny") as sights:
                async with house.load.running():
                    await _told_to(process.url, hostile.url, owner, num_runs)
                    deadline = time.monotonic() + seconds
                    while time.monotonic() < deadline:
                        await asyncio.sleep(0.2)
                        most = max(most, resident_mib(process.pid))
                opened = num_descriptors(process.pid)
                faults = await house.faults()
        slowest = sights.seconds(PICTURE)
    faults += sights.faults
    if most - before > GROWTH_MIB:
        faults.append(f"memory grew by {most - before:.0f} MiB")
    if slowest > LONGEST_SECONDS:
        faults.append(f"a bystander waited {slowest:.1f} s for a picture")
    faults += [f"nothing was told to {kind}" for kind in KINDS if not hostile.asked[kind]]
    return Row(
        f"{num_runs} runs each told to {', '.join(KINDS)}",
        "honest webhooks come, all and in order; pictures go on; memory stays",
        f"{sum(hostile.asked.values())} tries; {len(house.load.ledger.runs)} honest runs; "
        f"pictures within {slowest:.2f} s, "
        f"signs of life within {1e3 * sights.seconds(LIVE):.0f} ms; memory {before:.0f} MiB, at "
        f"most {most:.0f} MiB; {opened} descriptors",
        tuple(faults),
    )


async def _told_to(url: str, receiver: str, owner: Owner, num_runs: int) -> None:
    async with httpx.AsyncClient(timeout=60) as client:
        for kind in [*KINDS] * num_runs:
            body = run_body(1) | {"webhook": f"{receiver}/{kind.replace(' ', '-')}"}
            answer = await client.post(f"{url}/api/run/queue", headers=owner.headers, json=body)
            answer.raise_for_status()
