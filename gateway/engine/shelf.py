"""What is in memory on one device: pipelines and their adapters, loaded and dropped as needed.

Files are read in a loader thread, beside running work; what changes modules that are in
use happens on the engine's thread, between two turns.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import structlog
import torch

from gateway import metrics
from gateway.catalog import AdapterCard, Catalog
from gateway.engine.adapters import Adapters, read_adapter
from gateway.engine.loading import CONSTRUCTION, LoadedPipeline, load
from gateway.errors import GenerationFailed
from gateway.job import Job

GIB = 2**30
FAULT_SECONDS = 5.0
"""How long a failed load answers for itself before it is tried again."""

log = structlog.get_logger()


class Shelf:
    """Pipelines by endpoint id, least recently used first; `wake` is called after each load."""

    def __init__(
        self,
        catalog: Catalog,
        devices: dict[str, torch.device],
        *,
        endpoint_gib: float,
        adapter_gib: float,
        wake: Callable[[Callable[[], None]], None],
    ) -> None:
        self._catalog = catalog
        self._devices = devices
        self._endpoint_bytes = endpoint_gib * GIB or float("inf")
        self._adapter_bytes = adapter_gib * GIB or float("inf")
        self._wake = wake
        self._loader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="loader")
        self._pending: dict[str, Future[Any]] = {}
        self._faults: dict[str, tuple[Exception, float]] = {}
        self._loaded: OrderedDict[str, LoadedPipeline] = OrderedDict()
        self._adapters: dict[str, Adapters] = {}
        self._in_use: Callable[[], list[Job]] = lambda: []

    def watch(self, in_use: Callable[[], list[Job]]) -> None:
        """Learn how to tell which jobs are running: what they need is not dropped."""
        self._in_use = in_use

    @property
    def loaded(self) -> dict[str, LoadedPipeline]:
        """Pipelines in memory by endpoint id."""
        return dict(self._loaded)

    def adapters(self, endpoint: str) -> Adapters:
        """The adapters of a loaded endpoint."""
        return self._adapters[endpoint]

    def is_ready(self, job: Job) -> bool:
        """Whether a job can start now, or can be told why it never will.

        What is missing is asked for; `wake` follows.
        """
        if self._fault(job) is not None:
            return True
        if job.endpoint not in self._loaded:
            self._fetch(job.endpoint, self._load_endpoint, job.endpoint)
            return False
        known = self._adapters[job.endpoint].routes
        missing = [use.route for use in job.adapters if use.route not in known]
        for route in missing:
            card = self._catalog.adapters[job.endpoint, route]
            self._fetch(card.id, self._load_adapter, card)
        return not missing

    def take(self, job: Job) -> LoadedPipeline:
        """The pipeline of a job that is ready, marked as just used.

        Raises:
            GenerationFailed: its endpoint or adapter could not be loaded.
        """
        if (fault := self._fault(job)) is not None:
            raise GenerationFailed(f"The model could not be loaded: {fault}") from fault
        self._loaded.move_to_end(job.endpoint)
        for use in job.adapters:
            self._adapters[job.endpoint].touch(use.route)
            metrics.ADAPTER_HITS.labels(f"{job.endpoint}:{use.route}").inc()
        return self._loaded[job.endpoint]

    def ask_for(self, endpoint: str) -> "Future[Any]":
        """Load an endpoint ahead of any job."""
        self._fetch(endpoint, self._load_endpoint, endpoint)
        return self._pending[endpoint]

    def close(self) -> None:
        """End the loader thread."""
        self._loader.shutdown(wait=False, cancel_futures=True)

    def _fault(self, job: Job) -> Exception | None:
        for id in (job.endpoint, *(f"{job.endpoint}:{use.route}" for use in job.adapters)):
            error, until = self._faults.get(id, (None, 0.0))
            if time.monotonic() < until:
                return error
        return None

    def _fetch(self, id: str, work: Callable[..., Callable[[], None]], argument: Any) -> None:
        """Read in the loader thread, then finish on the engine's thread."""
        if id in self._pending:
            return
        future = self._pending[id] = self._loader.submit(work, argument)

        def read(done: "Future[Callable[[], None]]") -> None:
            self._wake(lambda: self._finish(id, done))

        future.add_done_callback(read)

    def _finish(self, id: str, done: "Future[Callable[[], None]]") -> None:
        try:
            done.result()()
        except Exception as error:
            log.error("load failed", model=id, exc_info=error)
            self._faults[id] = (error, time.monotonic() + FAULT_SECONDS)
        self._pending.pop(id, None)

    def _load_endpoint(self, id: str) -> Callable[[], None]:
        with metrics.LOAD_SECONDS.labels(id).time():
            loaded = load(self._catalog.endpoints[id], self._devices[id])
        return lambda: self.put(id, loaded)

    def put(self, id: str, loaded: LoadedPipeline) -> None:
        """Keep a pipeline, and drop the least recently used ones beyond the budget."""
        self._loaded[id] = loaded
        self._adapters[id] = Adapters(loaded)
        metrics.LOADS.labels(id).inc()
        busy = {job.endpoint for job in self._in_use()} | {id}
        for other in list(self._loaded):
            if sum(one.size_bytes for one in self._loaded.values()) <= self._endpoint_bytes:
                break
            if other not in busy:
                self._loaded.pop(other).close()
                del self._adapters[other]
                metrics.EVICTIONS.labels(other).inc()

    def _load_adapter(self, card: AdapterCard) -> Callable[[], None]:
        weights = read_adapter(card)
        # Taken here, where waiting is free: the engine's thread must not build layers
        # while another endpoint is being built.
        CONSTRUCTION.acquire()

        def build() -> None:
            try:
                adapters = self._adapters[card.endpoint]
                adapters.add(card, weights)
            finally:
                CONSTRUCTION.release()
            metrics.LOADS.labels(card.id).inc()
            used = {
                use.route
                for job in self._in_use()
                if job.endpoint == card.endpoint
                for use in job.adapters
            }
            for route in adapters.evict_to(self._adapter_bytes, used | {card.route}):
                metrics.EVICTIONS.labels(f"{card.endpoint}:{route}").inc()

        return build
