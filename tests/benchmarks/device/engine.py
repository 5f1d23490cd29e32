"""The engine of one pipeline on one device, without door, web and files."""

import itertools
import queue
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import torch
from torch import nn

from gateway.catalog.cards import AdapterCard, EndpointCard
from gateway.catalog.catalog import Catalog
from gateway.catalog.collection import Collection
from gateway.catalog.heads.digests import Digests
from gateway.engine.adapters.adapters import AdapterWeights, LayerWeights
from gateway.engine.forwards.regional import is_compiled
from gateway.engine.hub import Hub
from gateway.engine.loading.loading import LoadedPipeline
from gateway.engine.loading.room import Budget
from gateway.engine.loading.shelf import Shelf
from gateway.engine.sample import Sample
from gateway.engine.weights.files import Origin
from gateway.job import Event, Failed, Finished, Job, Pixels, StepDone

T = TypeVar("T")
MAX_BATCH = 64
RANK = 16
PROJECTIONS = ("to_q", "to_k", "to_v", "to_out.0")
PATIENCE_SECONDS = 120.0


class Drawing:
    """A picture that was asked for; its times are by `time.perf_counter`.

    When it has ended it is put in `ends`.
    """

    def __init__(self, job: Job, arrival: int, ends: "queue.SimpleQueue[Drawing]") -> None:
        self.sample = Sample(job, 0, arrival, self._told)
        self.asked = time.perf_counter()
        self.steps: list[float] = []
        self.ended = 0.0
        self._ends = ends
        self._end: Future[Pixels] = Future()
        self._stepped = threading.Condition()

    @property
    def seconds(self) -> float:
        """From being asked for to being in host memory."""
        return self.ended - self.asked

    def pixels(self) -> Pixels:
        """The picture, waited for.

        Raises:
            GatewayError: it failed, or was cancelled.
        """
        return self._end.result(PATIENCE_SECONDS)

    def wait_for_steps(self, steps: int) -> None:
        """Wait until so many steps are told."""
        with self._stepped:
            enough = self._stepped.wait_for(lambda: len(self.steps) >= steps, PATIENCE_SECONDS)
        assert enough, f"{steps} steps were not told"

    def _told(self, event: Event) -> None:
        if isinstance(event, StepDone):
            with self._stepped:
                self.steps.append(time.perf_counter())
                self._stepped.notify_all()
        elif isinstance(event, Finished | Failed):
            self.ended = time.perf_counter()
            if isinstance(event, Finished):
                self._end.set_result(event.pixels)
            else:
                self._end.set_exception(event.error())
            self._ends.put(self)


class Engine:
    """A hub and its thread over a pipeline; `card` are fields of the endpoint's card."""

    def __init__(
        self, pipeline: Any, id: str, device: torch.device, *, num_adapters: int = 0, **card: Any
    ) -> None:
        endpoint = EndpointCard(id=id, **card)
        adapters = {
            (id, route): AdapterCard(endpoint=id, route=route, source="drawn.safetensors")
            for route in routes(num_adapters)
        }
        self._folder = TemporaryDirectory()
        self._shelf = Shelf(
            Collection.of(Catalog({id: endpoint}, adapters)), device,
            Digests(Path(self._folder.name)), Budget(),
            tell=lambda command: self._hub.tell(command),  # noqa: PLW0108  the hub comes after
        )
        self._hub = Hub(self._shelf, device, MAX_BATCH, threads=torch.get_num_threads())
        self._arrivals = itertools.count()
        self.loaded = LoadedPipeline(endpoint, pipeline, device)
        self._shelf.put(id, self.loaded)
        for adapter in adapters.values():
            self._shelf.put_adapter(adapter, self._random_weights(), Origin(adapter.route))
        self._hub.start()

    def ask(self, job: Job, ends: "queue.SimpleQueue[Drawing] | None" = None) -> Drawing:
        """Ask for a picture; it is put in `ends` when it has ended."""
        drawing = Drawing(job, next(self._arrivals), ends or queue.SimpleQueue())
        self._hub.tell(lambda: self._hub.add([drawing.sample]))
        return drawing

    def draw(self, job: Job) -> Drawing:
        """A picture, waited for."""
        drawing = self.ask(job)
        drawing.pixels()
        return drawing

    def draw_together(self, jobs: Iterable[Job]) -> list[Drawing]:
        """Pictures asked for at once."""
        drawings = [self.ask(job) for job in jobs]
        for drawing in drawings:
            drawing.pixels()
        return drawings

    def cancel(self, drawing: Drawing) -> None:
        """Want a picture no more."""
        drawing.sample.is_cancelled = True
        self._hub.tell(lambda: None)

    def on_thread(self, work: Callable[[], T]) -> T:
        """What something answers on the engine's thread, between two turns."""
        answer: Future[T] = Future()
        self._hub.tell(lambda: answer.set_result(work()))
        return answer.result(PATIENCE_SECONDS)

    def is_ready(self, seconds: float) -> bool:
        """Have made ready what was asked for; false where that takes longer."""
        while self.on_thread(self._hub.lanes.prepare):
            pass
        return is_compiled(seconds)

    def close(self) -> None:
        """End the thread and give the pipeline its own entry points back."""
        self._hub.stop()
        self._hub.join(PATIENCE_SECONDS)
        self._hub.forwards.forget(self.loaded.entries)
        self._shelf.close()
        self.loaded.close()
        self._folder.cleanup()

    def _random_weights(self) -> AdapterWeights:
        """A LoRA of the denoiser's attention."""
        parts = self.loaded.base.components
        name = "unet" if "unet" in parts else "transformer"
        layers = {
            (name, path): _random_layer(layer)
            for path, layer in parts[name].named_modules()
            if path.endswith(PROJECTIONS) and isinstance(layer, nn.Linear)
        }
        return AdapterWeights(layers)


class Load:
    """Clients that each ask for the next picture when they have the last one."""

    def __init__(self, engine: Engine, jobs: Callable[[], Job], num_clients: int) -> None:
        self._engine = engine
        self._jobs = jobs
        self._ends: queue.SimpleQueue[Drawing] = queue.SimpleQueue()
        self._open = {self._next() for _ in range(num_clients)}

    def take(self, num_pictures: int) -> float:
        """The seconds that the next so many pictures take."""
        began = time.perf_counter()
        for _ in range(num_pictures):
            ended = self._ends.get(timeout=PATIENCE_SECONDS)
            ended.pixels()
            self._open.remove(ended)
            self._open.add(self._next())
        return time.perf_counter() - began

    def stop(self) -> None:
        """Cancel what is open, and wait until it has ended."""
        for drawing in self._open:
            self._engine.cancel(drawing)
        for _ in self._open:
            self._ends.get(timeout=PATIENCE_SECONDS)

    def _next(self) -> Drawing:
        return self._engine.ask(self._jobs(), self._ends)


def routes(count: int) -> list[str]:
    """Names of adapters."""
    return [f"ink-{number}" for number in range(count)]


def _random_layer(layer: nn.Linear) -> LayerWeights:
    down = layer.weight.new_empty(RANK, layer.in_features).normal_(std=1 / RANK)
    return LayerWeights(down, layer.weight.new_empty(layer.out_features, RANK).normal_(std=0.01))
