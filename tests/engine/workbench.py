"""A hub whose turns the test calls by hand, and the plain pipeline to compare with."""

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from gateway.catalog.cards import AdapterCard, EndpointCard
from gateway.catalog.catalog import Catalog
from gateway.catalog.collection import Collection
from gateway.catalog.heads.digests import Digests
from gateway.engine.device.pacing import Timeline
from gateway.engine.hub import Hub
from gateway.engine.loading.loading import LoadedPipeline
from gateway.engine.loading.room import Budget
from gateway.engine.loading.shelf import Shelf
from gateway.engine.pipelines import call
from gateway.engine.pipelines.merge import num_rows
from gateway.engine.pipelines.parking import Entry
from gateway.engine.pipelines.pixels import first_image
from gateway.engine.sample import Sample
from gateway.job import Event, Failed, Job
from gateway.settings import AUTO

CPU = torch.device("cpu")
ARGUMENTS: dict[str, dict[str, Any]] = {
    "pixart_sigma": {"use_resolution_binning": False, "clean_caption": False},
    "sana": {"use_resolution_binning": False, "complex_human_instruction": None,
             "clean_caption": False},
    "sana_sprint": {"use_resolution_binning": False, "complex_human_instruction": None,
                    "intermediate_timesteps": None, "clean_caption": False},
    "flux2_klein": {"text_encoder_out_layers": (1,)},
    "qwen_image": {"true_cfg_scale": 1.0},
}
TOLERANCE = 1e-4


class Workbench:
    """Endpoints over given pipelines, on a hub without a thread."""

    def __init__(  # noqa: PLR0913  a test tells one or two of them
        self,
        pipelines: dict[str, Any],
        adapters: tuple[AdapterCard, ...] = (),
        *,
        max_batch: int = 64,
        adapter_gib: float = 0,
        endpoint_gib: float = 0,
        memory: str = AUTO,
        catalog: Catalog | None = None,
        timeline: Timeline | None = None,
    ) -> None:
        cards = {id: EndpointCard(id=id) for id in pipelines}
        if catalog:
            cards |= catalog.endpoints
        routes = {(card.endpoint, card.route): card for card in adapters}
        catalog = catalog or Catalog(cards, routes)
        self.catalog = catalog
        self._data = TemporaryDirectory()
        self.shelf = Shelf(
            Collection.of(catalog), CPU, Digests(Path(self._data.name)),
            Budget(memory, endpoint_gib, adapter_gib),
            tell=lambda command: self.hub.tell(command),  # noqa: PLW0108  the hub comes after
        )
        self.hub = Hub(self.shelf, CPU, max_batch, 0, timeline)
        self._originals: dict[Entry, Any] = {}
        self.forwards: Counter[str] = Counter()
        self.rows: dict[str, list[int]] = {}
        for id, pipeline in pipelines.items():
            loaded = LoadedPipeline(cards[id], pipeline, CPU)
            self.shelf.put(id, loaded)
            for entry in loaded.entries:
                self._count(entry)
        self.events: list[Event] = []

    def add(self, job: Job) -> list[Sample]:
        """Let a job's samples wait."""
        samples = [Sample(job, n, 0, self.events.append) for n in range(len(job.seeds))]
        self.hub.add(samples)
        return samples

    @torch.inference_mode()
    def turn(self) -> None:
        """One turn of the hub, with whatever loads have finished."""
        self.hub.take_commands()
        self.hub.turn()

    def run(self) -> None:
        """Turns until nothing is left."""
        self.until(lambda: not (self.hub.waiting or self.hub.running))

    def until(self, is_done: Callable[[], bool], limit: int = 2000) -> None:
        """Turns until something is so."""
        for _ in range(limit):
            if is_done():
                return
            self.turn()
            if not any(sample.parked for sample in self.hub.running):
                time.sleep(0.002)
        raise AssertionError("it never came")

    def close(self) -> None:
        """Put the pipelines' own entry points back."""
        for loaded in self.shelf.loaded.values():
            for entry in loaded.entries:
                entry.original = self._originals.get(entry, entry.original)
            loaded.close()
        self.shelf.close()
        self._data.cleanup()

    def denoiser_rows(self) -> list[int]:
        """The rows of every denoiser forward so far."""
        return self.rows.get("unet", []) + self.rows.get("transformer", [])

    def _count(self, entry: Entry) -> None:
        inner = self._originals[entry] = entry.original

        def counted(*args: Any, **kwargs: Any) -> Any:
            self.forwards[f"{entry.component}.{entry.method}"] += 1
            self.rows.setdefault(entry.component, []).append(num_rows(args, kwargs))
            return inner(*args, **kwargs)

        entry.original = counted


def job(endpoint: str, prompt: str, seed: int, steps: int, **more: Any) -> Job:
    """A job of 32 by 32 pixels and of one sample."""
    facts: dict[str, Any] = {
        "id": f"{prompt}-{seed}", "endpoint": endpoint, "prompt": prompt, "seeds": (seed,),
        "num_inference_steps": steps, "width": 32, "height": 32,
        "arguments": ARGUMENTS.get(endpoint, {}),
    }
    return Job(**(facts | more))


@torch.inference_mode()
def alone(pipeline: Any, wanted: Job) -> torch.Tensor:
    """The picture of the same request through the plain pipeline, `[channels, h, w]`."""
    own = call.prepare(pipeline, wanted)
    given = call.arguments(own, wanted, wanted.seeds[0])
    return first_image(own(**given)).clone()


def picture(sample: Sample) -> torch.Tensor:
    """What a sample drew; fails the test with its error if it did not."""
    if sample.fault is not None:
        raise sample.fault
    assert isinstance(sample.image, torch.Tensor), sample.image
    return sample.image


def difference(got: torch.Tensor, wanted: torch.Tensor) -> float:
    """The largest difference of two pictures in [0, 1]."""
    assert got.shape == wanted.shape
    return float((got.float() - wanted.float()).abs().max())


def failures(events: list[Event]) -> list[Failed]:
    """The samples that failed."""
    return [event for event in events if isinstance(event, Failed)]

