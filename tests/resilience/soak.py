"""Pictures by the thousand: whether memory, descriptors, threads and disk stay as they are."""

import asyncio
import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.facts import folder_mib, num_descriptors, num_threads, resident_mib
from tests.resilience.house import tormented
from tests.resilience.ledger import Owner
from tests.resilience.row import Row
from tests.runs.server import Process

AT_ONCE = 8
RUNS_SHARE = 20
"""Every so many'th picture is drawn by a run."""

KEPT_SECONDS = 30
"""For so long pictures and runs are kept, so that the sweeps have work."""

SAMPLES = 20
WARM_SHARE = 0.3
ALLOWED = {"MiB of memory": 32.0, "descriptors": 16.0, "threads": 8.0, "MiB on disk": 16.0}
"""How much more there may be in the last third than there was before it, once warm."""


@dataclass(frozen=True)
class Sample:
    """What a process holds after some pictures."""

    num_pictures: int
    held: dict[str, float]


async def soak(folder: Path, num_pictures: int, engine: str = "emoji") -> Row:
    """Draw so many pictures, and look what the process holds on the way."""
    environment = {
        "ENGINE": engine,
        "GATEWAY_URL_MINUTES": str(KEPT_SECONDS / 60),
        "GATEWAY_RUN_DAYS": str(KEPT_SECONDS / 86_400),
        "GATEWAY_THREADS": "1",
    }
    process = Process(folder / "data", environment=environment)
    async with tormented(folder, processes=[process]) as house:
        await asyncio.to_thread(process.begin)
        began = time.monotonic()
        model = engine or "tiny"
        samples = await _drawn(process, house.load.owners[0], model, num_pictures)
        seconds = time.monotonic() - began
    warm = [one for one in samples if one.num_pictures >= WARM_SHARE * num_pictures]
    early, late = warm[: len(warm) // 2], warm[len(warm) // 2 :]
    faults = [
        f"{_most(late, name):.0f} {name} at the end, {_most(early, name):.0f} before"
        for name, allowed in ALLOWED.items()
        if _most(late, name) > _most(early, name) + allowed
    ]
    seen = [f"{_most(early, name):.0f} → {_most(late, name):.0f} {name}" for name in ALLOWED]
    return Row(
        f"{num_pictures} pictures of {model}, every {RUNS_SHARE}th by a run, {AT_ONCE} at once, "
        f"kept for {KEPT_SECONDS} s",
        "memory, descriptors, threads and disk are flat",
        f"{num_pictures / seconds:.0f} pictures a second; at most, before and after two thirds of "
        f"them: {', '.join(seen)}",
        tuple(faults),
    )


async def _drawn(process: Process, owner: Owner, model: str, num_pictures: int) -> list[Sample]:
    samples, numbers = [Sample(0, _held(process))], itertools.count(1)
    every = max(1, num_pictures // SAMPLES)
    limits = httpx.Limits(max_connections=AT_ONCE)
    async with httpx.AsyncClient(
        base_url=process.url, headers=owner.headers, timeout=120, limits=limits
    ) as client:

        async def ask() -> None:
            while (number := next(numbers)) <= num_pictures:
                await _draw(client, model, number)
                if number % every == 0:
                    samples.append(Sample(number, await asyncio.to_thread(_held, process)))

        await asyncio.gather(*(ask() for _ in range(AT_ONCE)))
    return sorted(samples, key=lambda sample: sample.num_pictures)


async def _draw(client: httpx.AsyncClient, model: str, number: int) -> None:
    inputs = {"prompt": f"{number % 100} apples", "seed": number, "num_inference_steps": 1}
    if number % RUNS_SHARE == 0:
        body: dict[str, object] = {"model_id": model, "inputs": inputs}
        answer = await client.post("/api/run/sync", json=body)
    else:
        answer = await client.post("/v1/images/generations", json=inputs | {"model": model})
    answer.raise_for_status()


def _held(process: Process) -> dict[str, float]:
    pid = process.pid
    counts = (resident_mib(pid), num_descriptors(pid), num_threads(pid), folder_mib(process.data))
    return dict(zip(ALLOWED, counts, strict=True))


def _most(samples: Sequence[Sample], name: str) -> float:
    return max(sample.held[name] for sample in samples)
