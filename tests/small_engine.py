"""A small engine for tests: real steps in real time, pictures that their seeds colour."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from gateway.catalog.abilities import Abilities
from gateway.catalog.cards import AdapterCard, EndpointCard, Sizes, Steps
from gateway.catalog.catalog import Catalog
from gateway.engine.protocol import EngineStatus
from gateway.errors import Overloaded
from gateway.job import Event, Failed, Finished, Job, Pixels, Preview, StepDone

UNUSABLE = "The model `tiny` cannot be used: unet: its weights are missing"


class TestEngine:
    """Draws plain pictures: red and green are the seed's bytes, blue is 255 after an edit.

    A prompt of `fail` fails, one of `slow` takes its time, one of `unusable` finds its model
    to be so. It reads a token a word. `jobs` are those it was given.
    """

    __test__ = False

    def __init__(self, step_seconds: float = 0.001, max_jobs: int = 1000) -> None:
        self.step_seconds = step_seconds
        self.max_jobs = max_jobs
        self.jobs: list[Job] = []
        self.num_running = 0
        self.max_running = 0
        self.num_closed = 0

    def submit(self, job: Job) -> AsyncGenerator[Event, None]:
        if self.num_running >= self.max_jobs:
            raise Overloaded("The door is full.", retry_after_seconds=0.01)
        self.jobs.append(job)
        self.num_running += 1
        self.max_running = max(self.max_running, self.num_running)
        return self._events(job)

    async def _events(self, job: Job) -> AsyncGenerator[Event, None]:
        seconds = 0.1 if "slow" in job.prompt else self.step_seconds
        done = False
        try:
            for step in range(1, job.num_inference_steps + 1):
                await asyncio.sleep(seconds)
                for sample in range(len(job.seeds)):
                    yield StepDone(sample, step, job.num_inference_steps)
                    if step <= job.num_previews:
                        yield Preview(sample, step - 1, Pixels(8, 8, 3, bytes(192)))
            for sample, seed in enumerate(job.seeds):
                if "unusable" in job.prompt:
                    yield Failed(sample, "model_unusable", UNUSABLE, "model")
                elif "fail" in job.prompt:
                    yield Failed(sample, "generation_failed", "The pipeline raised.")
                else:
                    colour = bytes((seed & 255, seed >> 8 & 255, 255 if job.images else 0))
                    pixels = Pixels(job.width, job.height, 3, colour * (job.width * job.height))
                    num_tokens = len(job.prompt.split())
                    scheduler = job.scheduler or "TestScheduler"
                    yield Finished(sample, pixels, scheduler, num_tokens=num_tokens)
            done = True
        finally:
            self.num_running -= 1
            self.num_closed += not done

    def status(self) -> EngineStatus:
        return EngineStatus(ready=True, num_running=self.num_running, num_waiting=0)

    def abilities(self, endpoint: str) -> Abilities | None:
        return None

    def runs_scheduler(self, endpoint: str, name: str | None, config: Mapping[str, Any]) -> bool:
        return name is None or name in ("EulerDiscreteScheduler", "DDIMScheduler")

    async def load_adapter(self, endpoint: str, route: str) -> None:
        pass

    def notice(self) -> None:
        pass

    async def start(self) -> None:
        pass

    async def stop(self, grace_seconds: float) -> None:
        pass


def small_catalog(folder: Path | None = None) -> Catalog:
    """An endpoint of 64 pixels with one adapter, a slow one, and one that edits."""
    card = EndpointCard(
        id="tiny",
        sizes=Sizes(native=(64, 64), min=32, max=256, multiple_of=8),
        path=folder / "tiny.toml" if folder else None,
    )
    adapter = AdapterCard(endpoint="tiny", route="style", source="style.safetensors")
    slow = EndpointCard(id="slow", steps=Steps(max=2000), sizes=Sizes(native=(64, 64), min=32))
    editor = EndpointCard(id="editor", sizes=card.sizes, edit_pipeline="TestEditPipeline")
    editor = msgspec.structs.replace(editor, matting="border")
    cards = {card.id: card for card in (card, slow, editor)}
    return Catalog(cards, {("tiny", "style"): adapter})
