"""Clients that each ask for the next picture when they have the last one."""

import asyncio
import itertools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import httpx

from tests.benchmarks.workload import body

ROUTE = "/v1/images/generations"
PNG = {"Accept": "image/png"}
MAX_SECONDS = 10.0
"""After it nothing more is asked for: a slow server need not answer as many."""


@dataclass
class Load:
    """The seconds of every request that was answered, and the seconds it all took."""

    seconds: list[float] = field(default_factory=list)
    wall_seconds: float = 0.0

    @property
    def per_second(self) -> float:
        """Pictures per second."""
        return len(self.seconds) / self.wall_seconds


def drive(
    url: str,
    num_clients: int,
    num_requests: int,
    steps: int = 1,
    adapters: Sequence[str] = ("",),
    max_seconds: float = MAX_SECONDS,
) -> Load:
    """Ask for pictures from so many clients at once, each with its adapter, and measure."""
    return asyncio.run(_drive(url, num_clients, num_requests, steps, adapters, max_seconds))


def drive_beside(url: str, num_busy: int, busy_steps: int, num_requests: int) -> Load:
    """One client's 1-step requests while others keep the server busy with long ones."""

    async def both() -> Load:
        endless = _drive(url, num_busy, 10**9, busy_steps, max_seconds=math.inf)
        busy = asyncio.create_task(endless)
        await asyncio.sleep(1)
        load = await _drive(url, 1, num_requests, 1)
        busy.cancel()
        await asyncio.gather(busy, return_exceptions=True)
        return load

    return asyncio.run(both())


async def _drive(
    url: str,
    num_clients: int,
    num_requests: int,
    steps: int,
    adapters: Sequence[str] = ("",),
    max_seconds: float = MAX_SECONDS,
) -> Load:
    load, numbers = Load(), itertools.count()
    limits = httpx.Limits(max_connections=num_clients)
    async with httpx.AsyncClient(base_url=url, timeout=600, limits=limits) as client:
        started = time.perf_counter()

        async def ask(adapter: str) -> None:
            while (number := next(numbers)) < num_requests:
                if (asked := time.perf_counter()) > started + max_seconds:
                    break
                given = body(number, steps, adapter)
                answer = await client.post(ROUTE, json=given, headers=PNG)
                answer.raise_for_status()
                assert answer.content[1:4] == b"PNG"
                load.seconds.append(time.perf_counter() - asked)

        await asyncio.gather(*(ask(adapters[n % len(adapters)]) for n in range(num_clients)))
        load.wall_seconds = time.perf_counter() - started
    return load
