"""What is in memory on one device: pipelines and their adapters, loaded and dropped as needed.

Files are read in a loader thread, beside running work; what is in use changes on the
engine's thread alone, between two turns, and takes no time there.
"""

import itertools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import structlog
import torch

from gateway.catalog.cards import AdapterCard
from gateway.catalog.catalog import Catalog
from gateway.engine.adapter_files import read_adapter, size_bytes
from gateway.engine.adapters import Adapters, AdapterWeights
from gateway.engine.loading import CONSTRUCTION, LoadedPipeline, bytes_on_disk, load
from gateway.engine.parking import Entry
from gateway.errors import GenerationFailed
from gateway.job import Job
from gateway.telemetry import metrics

GIB = 2**30
FAULT_SECONDS = 5.0
"""How long a failed load answers for itself before it is tried again."""

Command = Callable[[], None]
Key = tuple[str, str]

log = structlog.get_logger()


class Shelf:
    """Pipelines by endpoint id; `tell` has the engine's thread do what a load left to do.

    The least recently used goes first when a budget is passed, but nothing that runs. An
    endpoint that waits for room has the least recently used one finish what it runs, and
    start nothing more, until it can go.
    """

    def __init__(
        self,
        catalog: Catalog,
        devices: dict[str, torch.device],
        *,
        endpoint_gib: float,
        adapter_gib: float,
        tell: Callable[[Command], None],
    ) -> None:
        self._catalog = catalog
        self._devices = devices
        self._endpoint_bytes = endpoint_gib * GIB or float("inf")
        self._adapter_bytes = adapter_gib * GIB or float("inf")
        self._tell = tell
        self._loader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="loader")
        self._pending: set[str] = set()
        self._faults: dict[str, tuple[Exception, float]] = {}
        self._loaded: dict[str, LoadedPipeline] = {}
        self._adapter_sizes: dict[Key, int] = {}
        self._last_use: dict[str | Key, int] = {}
        self._uses = itertools.count()
        self._leaving: str | None = None
        self._in_use: Callable[[], list[Job]] = list
        self._forget: Callable[[Sequence[Entry]], None] = lambda _: None

    def watch(
        self, in_use: Callable[[], list[Job]], forget: Callable[[Sequence[Entry]], None]
    ) -> None:
        """Learn which jobs are running, whose needs are not dropped, and whom to tell of drops."""
        self._in_use = in_use
        self._forget = forget

    @property
    def loaded(self) -> dict[str, LoadedPipeline]:
        """Pipelines in memory by endpoint id."""
        return dict(self._loaded)

    def adapters(self, endpoint: str) -> Adapters:
        """The adapters of a loaded endpoint."""
        return self._loaded[endpoint].adapters

    def is_ready(self, job: Job) -> bool:
        """Whether a job can start now, or can be told why it never will.

        What is missing is asked for.
        """
        if self._fault(job) is not None:
            return True
        if job.endpoint not in self._loaded:
            self._ask_for_endpoint(job.endpoint)
            return False
        known = self._loaded[job.endpoint].adapters.routes
        missing = [use.route for use in job.adapters if use.route not in known]
        for route in missing:
            self._ask_for_adapter(self._catalog.adapters[job.endpoint, route])
        return not missing and job.endpoint != self._leaving

    def take(self, job: Job) -> LoadedPipeline:
        """The pipeline of a job that is ready, marked as just used.

        Raises:
            GenerationFailed: its endpoint or adapter could not be loaded.
        """
        if (fault := self._fault(job)) is not None:
            raise GenerationFailed("The model could not be loaded.") from fault
        self._last_use[job.endpoint] = next(self._uses)
        for use in job.adapters:
            self._last_use[job.endpoint, use.route] = next(self._uses)
            metrics.ADAPTER_HITS.labels(f"{job.endpoint}:{use.route}").inc()
        return self._loaded[job.endpoint]

    def runs_alone(self, endpoint: str) -> bool:
        """Whether one sample at a time uses an endpoint."""
        return endpoint in self._loaded and self._loaded[endpoint].runs_alone

    def have_run_alone(self, endpoint: str) -> None:
        """From now on one sample at a time uses an endpoint."""
        if not self.runs_alone(endpoint):
            log.info("one sample at a time: its calls change a module", endpoint=endpoint)
            self._loaded[endpoint].runs_alone = True

    def rest(self, endpoint: str) -> None:
        """An endpoint runs nothing for now."""
        if endpoint in self._loaded:
            self._loaded[endpoint].rest()

    def put(self, id: str, loaded: LoadedPipeline) -> None:
        """Keep a pipeline, dropping others that do not run while it is too much."""
        self._loaded[id] = loaded
        self._last_use[id] = next(self._uses)
        self._make_room(0, keep=id)

    def put_adapter(self, card: AdapterCard, weights: AdapterWeights) -> None:
        """Keep an adapter, dropping others that do not run while they are too many."""
        key = (card.endpoint, card.route)
        self._loaded[card.endpoint].adapters.add(card.route, weights)
        self._adapter_sizes[key] = size_bytes(weights)
        self._last_use[key] = next(self._uses)
        running = {(job.endpoint, use.route) for job in self._in_use() for use in job.adapters}
        for other in sorted(self._adapter_sizes, key=self._last_use.__getitem__):
            if sum(self._adapter_sizes.values()) <= self._adapter_bytes:
                break
            if other not in running | {key}:
                self._drop_adapter(other)

    def close(self) -> None:
        """End the loader thread."""
        self._loader.shutdown(wait=False, cancel_futures=True)

    def _fault(self, job: Job) -> Exception | None:
        for id in (job.endpoint, *(f"{job.endpoint}:{use.route}" for use in job.adapters)):
            error, until = self._faults.get(id, (None, 0.0))
            if time.monotonic() < until:
                return error
        return None

    def _ask_for_endpoint(self, id: str) -> None:
        card = self._catalog.endpoints[id]
        if id in self._pending or not self._make_room(bytes_on_disk(card), keep=id):
            return

        def read() -> Command:
            with metrics.LOAD_SECONDS.labels(id).time(), CONSTRUCTION:
                loaded = load(card, self._devices[id])
            return lambda: self.put(id, loaded)

        self._read(id, read)

    def _ask_for_adapter(self, card: AdapterCard) -> None:
        loaded = self._loaded[card.endpoint]

        def read() -> Command:
            with CONSTRUCTION:
                weights = read_adapter(card, loaded.base, loaded.device)
            return lambda: keep(weights)

        def keep(weights: AdapterWeights) -> None:
            if self._loaded.get(card.endpoint) is loaded:
                self.put_adapter(card, weights)

        self._read(card.id, read)

    def _read(self, id: str, work: Callable[[], Command]) -> None:
        """Work in the loader thread, then finish on the engine's thread."""
        if id in self._pending:
            return
        self._pending.add(id)
        future = self._loader.submit(work)
        future.add_done_callback(lambda done: self._tell(lambda: self._finish(id, done)))

    def _finish(self, id: str, done: "Future[Command]") -> None:
        self._pending.discard(id)
        if done.cancelled():
            return
        try:
            done.result()()
        except Exception as error:
            log.error("load failed", model=id, exc_info=error)
            self._faults[id] = (error, time.monotonic() + FAULT_SECONDS)
        else:
            metrics.LOADS.labels(id).inc()

    def _make_room(self, wanted_bytes: int, keep: str) -> bool:
        """Drop what does not run until so much fits; false where something must end first."""
        running = {job.endpoint for job in self._in_use()} | {keep}
        for id in sorted(self._loaded, key=self._last_use.__getitem__):
            held = sum(loaded.size_bytes for loaded in self._loaded.values())
            if held + wanted_bytes <= self._endpoint_bytes:
                break
            if id not in running:
                self._drop(id)
            elif id != keep and wanted_bytes:
                self._leaving = id
                return False
        self._leaving = None
        return True

    def _drop(self, id: str) -> None:
        for key in [key for key in self._adapter_sizes if key[0] == id]:
            self._drop_adapter(key)
        loaded = self._loaded.pop(id)
        loaded.close()
        self._forget(loaded.entries)
        metrics.EVICTIONS.labels(id).inc()

    def _drop_adapter(self, key: Key) -> None:
        endpoint, route = key
        self._loaded[endpoint].adapters.drop(route)
        del self._adapter_sizes[key]
        self._forget(self._loaded[endpoint].entries)
        metrics.EVICTIONS.labels(f"{endpoint}:{route}").inc()
