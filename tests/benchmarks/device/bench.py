"""A pipeline on a bench: by itself, and in an engine, as often as there is time for."""

import itertools
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from statistics import median
from typing import Any

import torch

from gateway.job import AdapterUse, Job
from tests.benchmarks.device.bare import Bare
from tests.benchmarks.device.budget import Budget
from tests.benchmarks.device.engine import Engine, Load
from tests.benchmarks.device.models import Model

SIZES = (1, 2, 4, 8, 16)
NUM_ROUNDS = 50
"""Parts of the time, each for something that is done again and again."""
MOST_ROUNDS = 10


class UnmeasuredError(Exception):
    """What cannot be measured here, and why."""


class Bench:
    """A pipeline at a number of steps: by itself, and in an engine."""

    def __init__(
        self, pipeline: Any, model: Model, device: torch.device, steps: int, budget: Budget
    ) -> None:
        self.pipeline = pipeline
        self.model = model
        self.device = device
        self.steps = steps
        self.budget = budget
        self.bare = Bare(pipeline, model, device, steps)
        self._numbers = itertools.count()
        self._round_seconds = budget.left / NUM_ROUNDS
        self._engine: tuple[dict[str, Any], Engine] | None = None
        self.bare.draw()

    def engine(self, **card: Any) -> Engine:
        """An engine with such a card; one at a time has the pipeline."""
        if self._engine is None or self._engine[0] != card:
            self.close()
            engine = Engine(self.pipeline, self.model.family, self.device, **card)
            self._engine = card, engine
            for _ in range(2):  # what is made at first use is not measured
                engine.draw(self.job())
        return self._engine[1]

    def close(self) -> None:
        """Give the pipeline back."""
        if self._engine is not None:
            self._engine[1].close()
        self._engine = None

    def job(self, steps: int | None = None, adapters: tuple[AdapterUse, ...] = ()) -> Job:
        """A request that was not made before."""
        return self.model.job(next(self._numbers), steps or self.steps, adapters)

    @cached_property
    def lone_seconds(self) -> float:
        """A lone picture of the bare pipeline."""
        return median(self.bare.seconds(first=number) for number in range(3))

    @property
    def rounds(self) -> int:
        """How often something as long as a lone picture is done."""
        return max(2, min(MOST_ROUNDS, int(self._round_seconds / self.lone_seconds)))

    @cached_property
    def static(self) -> tuple[float, int]:
        """The best pictures per second of any static batch that there is time for, and its size."""
        rates: dict[int, float] = {}
        time_for_it = self.budget.part(0.15)
        for size in SIZES:
            if rates and not time_for_it.fits(3 * size * self.lone_seconds):
                break
            self.bare.draw(size)
            rates[size] = size / median(self.bare.seconds(size, n) for n in range(3))
        best = max(rates, key=rates.__getitem__)
        return rates[best], best

    @property
    def num_clients(self) -> int:
        """As many as keep two of the best batches busy."""
        return max(4, 2 * self.static[1])

    def lone(self, engine: Engine) -> list[float]:
        """The seconds of lone requests."""
        return [engine.draw(self.job()).seconds for _ in range(self.rounds)]

    @contextmanager
    def load(self, engine: Engine) -> Iterator[Load]:
        """Clients that keep an engine full, once it is."""
        load = Load(engine, self.job, self.num_clients)
        try:
            load.take(self.num_clients)
            yield load
        finally:
            load.stop()

    def saturated(self, engine: Engine) -> float:
        """Pictures per second of a full engine."""
        with self.load(engine) as load:
            return 2 * self.num_clients / load.take(2 * self.num_clients)


class Clock:
    """Times on the device, where it has any of its own."""

    def __init__(self, device: torch.device) -> None:
        self._is_cuda = device.type == "cuda"

    def now(self) -> Any:
        """A moment of the device's."""
        if not self._is_cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def between(self, began: Any, ended: Any) -> float:
        """Seconds from one moment to another, both past."""
        if not self._is_cuda:
            return float(ended - began)
        ended.synchronize()
        return float(began.elapsed_time(ended)) / 1e3


@contextmanager
def counted() -> Iterator[list[str]]:
    """What torch says of every call that made the host wait for the device."""
    said: list[str] = []
    before, filters = warnings.showwarning, warnings.filters[:]
    vars(warnings)["showwarning"] = lambda message, *_, **__: said.append(str(message))
    warnings.simplefilter("always")
    torch.cuda.set_sync_debug_mode("warn")
    try:
        yield said
    finally:
        torch.cuda.set_sync_debug_mode("default")
        vars(warnings)["showwarning"] = before
        vars(warnings)["filters"][:] = filters


def need_cuda(bench: Bench) -> None:
    if bench.device.type != "cuda":
        raise UnmeasuredError("no CUDA")
