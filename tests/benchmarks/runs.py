"""What durable runs cost: acceptance, latency beside the images route, memory while they wait.

    python -m tests.benchmarks.runs

The small engine of the tests draws, so that the figures are the runs' own.
"""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx

from tests.benchmarks.table import Row, markdown
from tests.facts import resident_mib
from tests.runs import postgres
from tests.runs.postgres import free_port
from tests.runs.server import process

MODEL = {"model_id": "tiny", "inputs": {"prompt": "a cat", "num_inference_steps": 1}}
IMAGE = {"model": "tiny", "prompt": "a cat", "num_inference_steps": 1}
LONE, NUM_ACCEPTED, AT_ONCE, NUM_WAITING = 40, 300, 16, 1000


def main() -> None:
    """Measure on both databases and print the table."""
    rows: list[Row] = []
    with postgres.running() as server, tempfile.TemporaryDirectory() as folder:
        for name, database in (("SQLite", None), ("PostgreSQL", server.new_database())):
            rows += measured(name, database, Path(folder) / name)
    print(markdown(rows))


def measured(name: str, database: str | None, data: Path) -> list[Row]:
    """The rows of one database."""
    port = free_port()
    data.mkdir()
    with process(port, data / "data", database) as server:
        return asyncio.run(_measured(name, f"http://127.0.0.1:{port}", server.pid))


async def _measured(name: str, url: str, pid: int) -> list[Row]:
    async with httpx.AsyncClient(base_url=url, timeout=120) as client:
        image = await lone(lambda: client.post("/v1/images/generations", json=IMAGE))
        run = await lone(lambda: client.post("/api/run/sync", json=MODEL))
        accepted = await per_second(client)
        batch = await per_second_in_batches(client)
        idle, waiting = await memory(client, pid)
    by_images, aim = "the same by /v1/images/generations", "at most 100 ms more"
    return [
        Row(f"{name}: a run, POST to success", "ms", run * 1e3, by_images, image * 1e3, aim),
        Row(
            f"{name}: runs accepted in batches of 100",
            "runs/s",
            batch,
            f"one by one, {AT_ONCE} clients",
            accepted,
        ),
        Row(f"{name}: memory, {NUM_WAITING} runs waiting", "MiB", waiting, "none", idle),
    ]


async def lone(ask: Callable[[], Awaitable[httpx.Response]]) -> float:
    """The median of lone requests, in seconds."""
    for _ in range(5):
        (await ask()).raise_for_status()
    seconds = []
    for _ in range(LONE):
        began = time.perf_counter()
        (await ask()).raise_for_status()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


async def per_second(client: httpx.AsyncClient) -> float:
    """Runs accepted per second while others are drawn."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def accept() -> None:
        async with gate:
            (await client.post("/api/run/queue", json=MODEL)).raise_for_status()

    began = time.perf_counter()
    await asyncio.gather(*(accept() for _ in range(NUM_ACCEPTED)))
    seconds = time.perf_counter() - began
    await _drained(client)
    return NUM_ACCEPTED / seconds


async def per_second_in_batches(client: httpx.AsyncClient) -> float:
    """Runs accepted per second, a hundred in a transaction."""
    began = time.perf_counter()
    for _ in range(3):
        answer = await client.post("/api/run/queue", json=MODEL | {"batch_number": 100})
        answer.raise_for_status()
    seconds = time.perf_counter() - began
    await _drained(client)
    return 300 / seconds


async def memory(client: httpx.AsyncClient, pid: int) -> tuple[float, float]:
    """Resident MiB before and while many runs wait."""
    idle = resident_mib(pid)
    inputs = {"prompt": "slow", "num_inference_steps": 2000}
    body = {"batch_number": NUM_WAITING, "concurrency_limit": 1}
    given = {"model_id": "slow", "inputs": inputs} | body
    (await client.post("/api/run/queue", json=given)).raise_for_status()
    await asyncio.sleep(3)
    return idle, resident_mib(pid)


async def _drained(client: httpx.AsyncClient) -> None:
    """Wait until a new run is the only one."""
    while True:
        answer = (await client.post("/api/run/queue", json=MODEL | {"batch_number": 2})).json()
        path = f"/api/run/{answer['run_id']}"
        ahead = (await client.get(path, params={"queue_position": "true"})).json()
        if not ahead["queue_position"]:
            return
        await asyncio.sleep(0.5)


if __name__ == "__main__":
    main()
