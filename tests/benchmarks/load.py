"""Clients that each ask for the next picture when they have the last one."""

import asyncio
import itertools
import time
from dataclasses import dataclass, field

import httpx

from tests.benchmarks.bare import EDGE, PROMPT

ROUTE = "/v1/images/generations"


@dataclass
class Load:
    """The seconds of every request that was answered, and the seconds it all took."""

    seconds: list[float] = field(default_factory=list)
    wall_seconds: float = 0.0

    @property
    def per_second(self) -> float:
        """Pictures per second."""
        return len(self.seconds) / self.wall_seconds


def drive(url: str, num_clients: int, num_requests: int, steps: int = 1) -> Load:
    """Ask for pictures from so many clients at once, and measure."""
    return asyncio.run(_drive(url, num_clients, num_requests, steps))


def drive_beside(url: str, num_busy: int, busy_steps: int, num_requests: int) -> Load:
    """One client's 1-step requests while others keep the server busy with long ones."""

    async def both() -> Load:
        busy = [asyncio.create_task(_drive(url, 1, 10**9, busy_steps)) for _ in range(num_busy)]
        await asyncio.sleep(1)
        load = await _drive(url, 1, num_requests, 1)
        for task in busy:
            task.cancel()
        await asyncio.gather(*busy, return_exceptions=True)
        return load

    return asyncio.run(both())


async def _drive(url: str, num_clients: int, num_requests: int, steps: int) -> Load:
    load, numbers = Load(), itertools.count()
    limits = httpx.Limits(max_connections=num_clients)
    async with httpx.AsyncClient(base_url=url, timeout=600, limits=limits) as client:

        async def ask() -> None:
            while (number := next(numbers)) < num_requests:
                asked = time.perf_counter()
                answer = await client.post(ROUTE, json=_body(number, steps), headers=PNG)
                answer.raise_for_status()
                assert answer.content[1:4] == b"PNG"
                load.seconds.append(time.perf_counter() - asked)

        started = time.perf_counter()
        await asyncio.gather(*(ask() for _ in range(num_clients)))
        load.wall_seconds = time.perf_counter() - started
    return load


PNG = {"Accept": "image/png"}


def _body(number: int, steps: int) -> dict[str, object]:
    return {
        "model": "tiny", "prompt": f"{PROMPT} {number % 16}", "seed": number,
        "num_inference_steps": steps, "guidance_scale": 1.0, "size": f"{EDGE}x{EDGE}",
    }
