"""An engine under the kit of promises, and how its events are waited for."""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Any

from gateway.catalog.collection import Collection
from gateway.engine.protocol import Engine
from gateway.job import Event, Job


@dataclass
class Bench:
    """An engine under the kit, and what is served by it.

    `endpoint` has the `adapter`, and one whose file is `torn`. `failing` is what a job is given
    that is let in and cannot be drawn. `long` steps take far longer than what they are waited
    for beside, so that it shows who ends first. Nothing is waited for longer than `patience`.
    """

    engine: Engine
    collection: Collection
    endpoint: str
    adapter: str
    torn: str
    failing: dict[str, Any]
    long: int = 300
    patience_seconds: float = 60.0
    size: int = 32
    _numbers: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))

    def job(self, prompt: str = "a cat", **more: Any) -> Job:
        """A small job, of one sample and of three steps if nothing else is said."""
        self._numbers[prompt] += 1
        facts: dict[str, Any] = {
            "id": f"{prompt} {self._numbers[prompt]} {id(self)}",
            "endpoint": self.endpoint,
            "prompt": prompt,
            "seeds": (1,),
            "num_inference_steps": 3,
            "width": self.size,
            "height": self.size,
        }
        return Job(**(facts | more))

    async def drawn(self, job: Job) -> list[Event]:
        """All events of a job."""
        return await self.rest(self.engine.submit(job))

    async def rest(self, events: AsyncGenerator[Event]) -> list[Event]:
        """All that a stream still has to say."""
        async with asyncio.timeout(self.patience_seconds):
            return [event async for event in events]

    async def first(self, events: AsyncGenerator[Event]) -> Event:
        """The next thing that a stream says."""
        async with asyncio.timeout(self.patience_seconds):
            return await anext(events)

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait until something is so."""
        deadline = time.monotonic() + self.patience_seconds
        while not is_so():
            assert time.monotonic() < deadline, "it never came"
            await asyncio.sleep(0.002)

    @property
    def num_inside(self) -> int:
        """Samples that run or wait."""
        status = self.engine.status()
        return status.num_running + status.num_waiting

    async def until_idle(self) -> None:
        """Wait until nothing runs or waits."""
        await self.until(lambda: self.num_inside == 0)
