"""Whether memory stays where it is: resident MiB while many clients draw sizes that change.

    python -m tests.benchmarks.memory [--pictures 3000]

A tiny SDXL in one step, 60 clients, one picture in eight of 1024 pixels square and the others
of 256, every prompt new. After the first 200 pictures memory should move by 5 % at most.
"""

import argparse
import asyncio
import itertools
import tempfile
from pathlib import Path

import httpx

from tests.benchmarks.load import PNG, ROUTE
from tests.benchmarks.processes import gateway
from tests.benchmarks.table import Row, markdown
from tests.benchmarks.workload import save
from tests.facts import resident_mib

CLIENTS = 60
SMALL, LARGE, LARGE_EVERY = 256, 1024, 8
WARM = 200
EVERY = 50
"""Pictures between two looks at the memory."""


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Plain)
    parser.add_argument("--pictures", type=int, default=3000, help="after the first 200")
    print(markdown(measured(parser.parse_args().pictures)))


def measured(num_pictures: int) -> list[Row]:
    """The row: the resident MiB farthest from what they were after the first pictures."""
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder))
        with gateway(("tiny", "--models", folder)) as running:
            pid = running.server.process.pid
            looks = asyncio.run(_drive(running.server.url, pid, WARM + num_pictures))
    warm, *later = looks[WARM // EVERY - 1 :]
    farthest = max(later, key=lambda mib: abs(mib - warm))
    name = f"memory over {num_pictures} pictures, {CLIENTS} clients"
    return [Row(name, "MiB", farthest, f"after {WARM}", warm, "moves by at most 5 %")]


async def _drive(url: str, pid: int, num_pictures: int) -> list[float]:
    """The resident MiB after every so many pictures."""
    looks: list[float] = []
    numbers, done = itertools.count(), itertools.count(1)
    limits = httpx.Limits(max_connections=CLIENTS)
    async with httpx.AsyncClient(base_url=url, timeout=600, limits=limits) as client:

        async def ask() -> None:
            while (number := next(numbers)) < num_pictures:
                answer = await client.post(ROUTE, json=_body(number), headers=PNG)
                answer.raise_for_status()
                if next(done) % EVERY == 0:
                    looks.append(resident_mib(pid))
                    print(f"{len(looks) * EVERY} pictures: {looks[-1]:.0f} MiB", flush=True)

        await asyncio.gather(*(ask() for _ in range(CLIENTS)))
    return looks


def _body(number: int) -> dict[str, object]:
    edge = LARGE if number % LARGE_EVERY == 0 else SMALL
    return {
        "model": "tiny", "prompt": f"a cat that was never asked for, number {number}",
        "seed": number, "num_inference_steps": 1, "guidance_scale": 1.0, "size": f"{edge}x{edge}",
    }


class _Plain(argparse.RawDescriptionHelpFormatter):
    pass


if __name__ == "__main__":
    main()
