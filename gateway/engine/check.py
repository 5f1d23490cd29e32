"""Whether an endpoint keeps the promise: samples drawn alone, then together, and compared."""

import math
import os
import queue
import resource
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from uuid import uuid4

import msgspec
import torch
from torch import Tensor

from gateway.catalog.catalog import Catalog, Model
from gateway.catalog.collection import Collection
from gateway.catalog.heads.digests import Digests
from gateway.catalog.samplers import SAMPLERS, Runs, choose, classes_of
from gateway.engine.device.chosen import device_of
from gateway.engine.forwards.remembered import copied
from gateway.engine.hub import Hub
from gateway.engine.loading.loading import LoadedPipeline, dtype_of
from gateway.engine.loading.room import Budget
from gateway.engine.loading.shelf import Shelf
from gateway.engine.pipelines import call
from gateway.engine.pipelines.abilities import ignored_by
from gateway.engine.pipelines.merge import tensors_of
from gateway.engine.pipelines.parking import Entry
from gateway.engine.pipelines.pixels import first_image
from gateway.engine.sample import Sample
from gateway.errors import GenerationFailed
from gateway.intake import fit_size
from gateway.job import AdapterUse, Event, Failed, Finished, Job
from gateway.settings import Settings

PROMPTS = (
    "a red apple",
    "two dogs that run along a beach at sunset, seen from far above",
    "a house",
    "the moon over a quiet lake, with mountains and a small boat",
)
LATE = "a tree that comes later"
BATCHES = (2, 4, 8, 16)
_UNIT = 64
"""Edges of a multiple of this suit every autoencoder."""
WORTH = 0.95
"""A larger batch is tried while the last one took at most so much of the time a picture."""

ROUNDINGS = 8
"""By as many is a sum of some dozens off that is added up in another order, as in a batch."""
NUM_NUDGES = 3
"""Draws of the same picture by which it is found how far that moves it."""

ON_CPU, ON_GPU, IN_HALF = 1e-4, 1e-2, 0.1
"""The largest difference in [0, 1] that is promised: in float32, and in half precision."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What a check found. Differences are of pixels in [0, 1], times in seconds, sizes in bytes.

    `stock_difference` is to the pipeline's own call without the engine; None with an adapter.
    `num_forwards` are the denoiser's for `num_calls` of the samples that were together.
    `batches` are samples at once and the seconds a picture then takes. `rounding` is how far the
    pipeline's own call moves where its models answer a few roundings off, which some weights
    multiply; None where nothing was beyond the tolerance. Twice that is no fault of sharing.
    """

    model: str
    pipeline: str
    device: str
    dtype: str
    tolerance: float
    difference: float
    stock_difference: float | None
    num_samples: int
    num_forwards: int
    num_calls: int
    is_alone: bool
    batches: dict[int, float]
    weight_bytes: int
    plan: str
    used_bytes: int
    peak_bytes: int
    memory_bytes: int
    samplers: list[str]
    schedulers: list[str]
    ignored: list[str]
    rounding: float | None

    @property
    def holds(self) -> bool:
        """Whether the promise holds."""
        allowed = max(self.tolerance, 2 * (self.rounding or 0.0))
        return max(self.difference, self.stock_difference or 0.0) <= allowed


def check(model: Model, catalog: Catalog, settings: Settings) -> Finding:
    """Load a model, draw it alone and together, and compare.

    Raises:
        CardError: it cannot be loaded.
        GatewayError: a sample failed.
    """
    with torch.inference_mode():
        return _Check(model, catalog, settings).finding()


class _Check:
    def __init__(self, model: Model, catalog: Catalog, settings: Settings) -> None:
        self.model = model
        self.card = model.endpoint
        self.catalog = catalog
        self.device = device_of(self.card, settings.device)
        shelf = Shelf(
            Collection.of(catalog),
            self.device,
            Digests(settings.data),
            Budget(settings.memory),
            tell=lambda command: self.hub.tell(command),  # noqa: PLW0108  the hub comes after
        )
        self.hub = Hub(shelf, self.device, settings.max_batch, settings.threads)
        self.hub.forwards.batch_sizes = deque()

    def finding(self) -> Finding:
        self.hub.start()
        try:
            return self._found()
        finally:
            self.hub.stop()
            self.hub.join(10.0)
            self.hub.shelf.close()

    def _found(self) -> Finding:
        jobs = [*self._jobs(), self._job(LATE, self.card.steps.min)]
        alone = [self._together([job])[0] for job in jobs]
        before = self._forwards()
        together = self._together(jobs[:-1], late=jobs[-1])
        sizes = self._forwards()[len(before) :]
        loaded = self.hub.shelf.loaded[self.card.id]
        runs = partial(self.catalog.runs_scheduler, self.card.id)
        tolerance, difference = self._tolerance(), max(map(_difference, together, alone))
        return Finding(
            model=self.model.id,
            pipeline=type(loaded.base).__name__,
            device=str(self.device),
            dtype=str(dtype_of(self.card, self.device)).removeprefix("torch."),
            tolerance=tolerance,
            difference=difference,
            rounding=self._rounding(jobs) if difference > tolerance else None,
            stock_difference=(
                None if self.model.adapter else _difference(alone[0], self._stock(jobs[0]))
            ),
            num_samples=len(jobs),
            num_forwards=len(sizes),
            num_calls=sum(sizes),
            is_alone=loaded.runs_alone,
            batches=dict(self._paces()),
            weight_bytes=loaded.size_bytes,
            plan=str(loaded.plan or "not planned"),
            used_bytes=loaded.used_bytes,
            peak_bytes=self._peak(loaded),
            memory_bytes=self._memory(),
            samplers=[name for name in SAMPLERS if _takes(name, runs)],
            schedulers=classes_of(runs),
            ignored=_ignored(type(loaded.base), jobs[0]),
        )

    def _jobs(self) -> list[Job]:
        """Samples that differ in all that samples may differ in: one size each is not native."""
        steps = self.card.steps
        counts = (steps.default, min(steps.max, steps.default + 1), steps.min, steps.default)
        sizes = (None, None, None, self._other_size())
        return [
            self._job(prompt, count, seed, size)
            for seed, (prompt, count, size) in enumerate(zip(PROMPTS, counts, sizes, strict=True))
        ]

    def _other_size(self) -> tuple[int, int] | None:
        """A size that is not the native one, where the card has another."""
        sizes = self.card.sizes
        if sizes.allowed:
            return next((pair for pair in sizes.allowed if pair != sizes.native), None)
        width, height = sizes.native
        return width // 2 if width % (2 * _UNIT) == 0 else min(sizes.max, 2 * width), height

    def _job(
        self, prompt: str, steps: int, seed: int = 100, size: tuple[int, int] | None = None
    ) -> Job:
        (width, height), _ = fit_size(size, self.card.sizes)
        adapter = self.model.adapter
        return Job(
            id=uuid4().hex,
            endpoint=self.card.id,
            prompt=prompt,
            num_inference_steps=steps,
            guidance_scale=self.card.guidance.default,
            width=width,
            height=height,
            seeds=(seed,),
            adapters=(AdapterUse(adapter.route, adapter.scale),) if adapter else (),
            arguments=self.card.call_arguments(steps),
        )

    def _together(self, jobs: list[Job], late: Job | None = None) -> list[Tensor]:
        """The pictures of jobs that begin at once; `late` joins after the first step of any."""
        events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        samples = [Sample(job, 0, number, events.put) for number, job in enumerate(jobs)]
        self.hub.tell(lambda: self.hub.waiting.extend(samples))
        num_open = len(samples)
        while num_open:
            event = events.get()
            if late is not None:
                joining = Sample(late, 0, len(samples), events.put)
                samples, num_open, late = [*samples, joining], num_open + 1, None
                self.hub.tell(partial(self.hub.waiting.append, joining))
            if isinstance(event, Failed):
                raise next(map(_explained, (one for one in samples if one.fault)))
            num_open -= isinstance(event, Finished)
        return [sample.image.float().cpu() for sample in samples]

    def _forwards(self) -> list[int]:
        """The samples of every denoiser forward so far."""
        return list(self.hub.forwards.batch_sizes)

    def _stock(self, job: Job) -> Tensor:
        """What the pipeline draws without the engine."""
        own = call.prepare(self.hub.shelf.loaded[self.card.id].base, job)
        image = first_image(own(**call.arguments(own, job, job.seeds[0])))
        return image.float().cpu()

    def _rounding(self, jobs: list[Job]) -> float:
        """How far a few roundings of what models answer move a picture of the pipeline's own."""
        plain = [self._stock(job) for job in jobs] * NUM_NUDGES
        with _rounded(self.hub.shelf.loaded[self.card.id].entries):
            return max(map(_difference, map(self._stock, jobs * NUM_NUDGES), plain))

    def _paces(self) -> Iterator[tuple[int, float]]:
        """Samples at once, and the seconds a picture took, until more at once gain nothing."""
        last = float("inf")
        for size in (1, *BATCHES):
            if size > self.hub.max_batch:
                return
            jobs = [self._job(PROMPTS[0], self.card.steps.default, seed) for seed in range(size)]
            began = time.perf_counter()
            self._together(jobs)
            seconds = (time.perf_counter() - began) / size
            yield size, seconds
            if seconds > WORTH * last:
                return
            last = seconds

    def _tolerance(self) -> float:
        if dtype_of(self.card, self.device) != torch.float32:
            return IN_HALF
        return ON_CPU if self.device.type == "cpu" else ON_GPU

    def _peak(self, loaded: LoadedPipeline) -> int:
        """The most memory so far: of the device, or of this process where that is the host's."""
        if self.device.type == "cuda":
            return loaded.used_bytes
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    def _memory(self) -> int:
        """All the memory that the device has."""
        if self.device.type == "cuda":
            return int(torch.cuda.mem_get_info(self.device)[1])
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _explained(sample: Sample) -> GenerationFailed:
    job = sample.job
    asked = f"{job.width}x{job.height} in {job.num_inference_steps} steps"
    return GenerationFailed(f"{job.endpoint}: a sample of {asked} failed: {sample.fault}")


def _difference(one: Tensor, other: Tensor) -> float:
    """The largest difference of two pictures; infinite where one is no picture at all."""
    difference = float((one - other).abs().max()) if one.shape == other.shape else float("nan")
    return float("inf") if math.isnan(difference) else difference


def _takes(sampler: str, runs: Runs) -> bool:
    """Whether a model carries out a sampler itself, and not by one that stands in."""
    choice = choose(sampler, None, runs)
    return choice is not None and choice.note is None


@contextmanager
def _rounded(entries: Iterable[Entry]) -> Iterator[None]:
    """Have every number that models answer be a few roundings off."""
    noise = torch.Generator().manual_seed(0)

    def off(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        result = copied(original(*args, **kwargs))
        for tensor in filter(Tensor.is_floating_point, tensors_of(result)):
            steps = torch.randint(-ROUNDINGS, ROUNDINGS + 1, tensor.shape, generator=noise)
            tensor.mul_(1 + torch.finfo(tensor.dtype).eps * steps.to(tensor.device))
        return result

    originals = {entry: entry.original for entry in entries}
    try:
        for entry, original in originals.items():
            entry.original = partial(off, original)
        yield
    finally:
        for entry, original in originals.items():
            entry.original = original


def _ignored(kind: Any, job: Job) -> list[str]:
    """What requests may say that this endpoint does nothing with."""
    ignored = list(ignored_by(kind))
    if "negative_prompt" not in ignored and (job.guidance_scale or 0.0) <= 1:
        ignored.append("negative_prompt without a guidance_scale above 1")
    return ignored
