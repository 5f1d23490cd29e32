"""Whether memory stays where it is: resident MiB while many clients draw sizes that change.

    python -m tests.benchmarks.memory [--pictures 3000] [--edges 128 512]

A tiny SDXL in one step, 60 clients, one picture in eight of 512 pixels square and the others of
128, every prompt new. What the heap has to bear is that tensors of two sizes, one sixteen times
the other, come and go in any order; `--edges 256 1024` is four times the work for the same. After
the first 200 pictures memory should move by 5 % at most.
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
EDGES, LARGE_EVERY = (128, 512), 8
WARM = 200
EVERY = 50
"""Pictures between two looks at the memory."""


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Plain)
    parser.add_argument("--pictures", type=int, default=3000, help="after the first 200")
    parser.add_argument("--edges", type=int, nargs=2, default=EDGES, help="small, large")
    options = parser.parse_args()
    print(markdown(measured(options.pictures, tuple(options.edges))))


def measured(num_pictures: int, edges: tuple[int, int]) -> list[Row]:
    """The row: the resident MiB farthest from what they were after the first pictures."""
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder))
        with gateway(("tiny", "--models", folder)) as running:
            pid = running.server.process.pid
            looks = asyncio.run(_drive(running.server.url, pid, WARM + num_pictures, edges))
    warm, *later = looks[WARM // EVERY - 1 :]
    farthest = max(later, key=lambda mib: abs(mib - warm))
    name = f"memory over {num_pictures} pictures of {edges[0]}² and {edges[1]}², {CLIENTS} clients"
    return [Row(name, "MiB", farthest, f"after {WARM}", warm, "moves by at most 5 %")]


async def _drive(
    url: str, pid: int, num_pictures: int, edges: tuple[int, int]
) -> list[float]:
    """The resident MiB after every so many pictures."""
    looks: list[float] = []
    numbers, done = itertools.count(), itertools.count(1)
    limits = httpx.Limits(max_connections=CLIENTS)
    async with httpx.AsyncClient(base_url=url, timeout=600, limits=limits) as client:

        async def ask() -> None:
            while (number := next(numbers)) < num_pictures:
                answer = await client.post(ROUTE, json=_body(number, edges), headers=PNG)
                answer.raise_for_status()
                if next(done) % EVERY == 0:
                    looks.append(resident_mib(pid))
                    print(f"{len(looks) * EVERY} pictures: {looks[-1]:.0f} MiB", flush=True)

        await asyncio.gather(*(ask() for _ in range(CLIENTS)))
    return looks


def _body(number: int, edges: tuple[int, int]) -> dict[str, object]:
    edge = edges[number % LARGE_EVERY == 0]
    return {
        "model": "tiny", "prompt": f"a cat that was never asked for, number {number}",
        "seed": number, "num_inference_steps": 1, "guidance_scale": 1.0, "size": f"{edge}x{edge}",
    }


class _Plain(argparse.RawDescriptionHelpFormatter):
    pass


if __name__ == "__main__":
    main()
