"""What is in memory on one device: pipelines and their adapters, loaded and dropped as needed.

Files are read in the loader's threads, beside running work; what is in use changes on the
engine's thread alone, between two turns, and takes no time there. When a job arrives the
files it needs are looked at: what has changed is read anew, and what runs ends with what it
began with.
"""

import itertools
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial

import structlog
import torch

from gateway.catalog.cards import AdapterCard, CardError, EndpointCard
from gateway.catalog.catalog import Catalog, Model
from gateway.catalog.collection import Collection, Key
from gateway.catalog.heads.digests import Digests
from gateway.catalog.sources.parts import bytes_on_disk, files_of
from gateway.catalog.survey.fitting import Plan
from gateway.catalog.survey.inspection import NotHereError
from gateway.catalog.survey.survey import fault_of
from gateway.engine.adapters.adapters import Adapters
from gateway.engine.adapters.beside import (
    Found,
    builds_modules,
    files_beside,
    rank_of,
    read_beside,
    size_bytes,
)
from gateway.engine.loading import needs
from gateway.engine.loading.construction import CONSTRUCTION, READING
from gateway.engine.loading.held import Held
from gateway.engine.loading.loader import Command, Loader
from gateway.engine.loading.loading import LoadedPipeline, load
from gateway.engine.loading.room import Budget, Room, tell_memory
from gateway.engine.pipelines.parking import Entry
from gateway.engine.sample import Material, Sample
from gateway.engine.weights.files import Origin, read_unchanged
from gateway.engine.weights.unusable import unusable
from gateway.errors import ModelNotFound, ShuttingDown
from gateway.fetching.fetching import fetch_missing
from gateway.job import AdapterUse, Job, Promise
from gateway.telemetry import metrics

Told = Callable[[Exception | None], None]

log = structlog.get_logger()


class Shelf:
    """Pipelines by endpoint id; `tell` has the engine's thread do what a load left to do.

    The least recently used goes first when a budget is passed, but nothing that runs. An
    endpoint that waits for room has the least recently used one finish what it runs, and
    start nothing more, until it can go; one whose files have changed does so itself.
    """

    def __init__(
        self,
        collection: Collection,
        device: torch.device,
        digests: Digests,
        budget: Budget,
        tell: Callable[[Command], None],
    ) -> None:
        self._collection = collection
        self._device = device
        self._digests = digests
        self._budget = budget
        self.room = Room(lambda: collection.latest, device, budget)
        self._loader = Loader(tell, self._tell_fetched)
        self._faults: dict[str, CardError] = {}
        self._loaded: dict[str, LoadedPipeline] = {}
        self._stale: set[str] = set()
        self._known: Catalog | None = None
        self._held: dict[Key, Held] = {}
        self._adapter_sizes: dict[Key, int] = {}
        self._last_use: dict[str | Key, int] = {}
        self._uses = itertools.count()
        self._leaving: str | None = None
        self._fetching: list[tuple[Job, Told]] = []
        self._in_use: Callable[[], list[Sample]] = list
        self._forget: Callable[[Sequence[Entry]], None] = lambda _: None

    def watch(
        self, in_use: Callable[[], list[Sample]], forget: Callable[[Sequence[Entry]], None]
    ) -> None:
        """Learn which samples run, whose needs are not dropped, and whom to tell of drops."""
        self._in_use = in_use
        self._forget = forget

    @property
    def loaded(self) -> dict[str, LoadedPipeline]:
        """Pipelines in memory by endpoint id."""
        return dict(self._loaded)

    @property
    def faults(self) -> dict[str, Exception]:
        """Why what was last tried in vain could not be loaded, or will not fit, by model id."""
        return self.room.faults | self._loader.faults

    @property
    def held(self) -> list[tuple[Key, Held]]:
        """Adapters in memory, by endpoint id and route."""
        return list(self._held.items())

    @property
    def load_seconds(self) -> dict[str, float]:
        """How long the latest load of each model took, by id."""
        return self._loader.seconds.copy()

    @property
    def beside_bytes(self) -> int:
        """What all that lies beside endpoints takes, with what was replaced and still runs."""
        return sum(self._adapter_sizes.copy().values())

    def adapters(self, endpoint: str) -> Adapters:
        """The adapters of a loaded endpoint."""
        return self._loaded[endpoint].adapters

    def look(self, job: Job) -> None:
        """Notice what has changed of the files a job needs; some microseconds a file."""
        catalog, id = self._collection.latest, job.endpoint
        if catalog is not self._known:
            self.let_go()
        loaded = self._loaded.get(id)
        if loaded and not (loaded.card == catalog.endpoints.get(id) and loaded.origin.is_current):
            self._stale.add(id)
        for _, card in catalog.beside(job):
            held = self._held.get(card.key) if card else None
            if card and held and not (held.card == card and held.origin.is_current):
                del self._held[card.key]
        self._loader.look(needs.names(job, catalog))
        self._inspect(job, catalog)

    def let_go(self) -> None:
        """Drop what is no longer in the catalogue, but for what runs."""
        catalog = self._known = self._collection.latest
        for id in self._loaded.keys() - catalog.endpoints.keys():
            if not self._is_running(id):
                self._drop(id)
        for key in self._held.keys() - catalog.keys_beside():
            del self._held[key]
        self._drop_replaced()

    def is_ready(self, job: Job) -> bool:
        """Whether a job can start now, or can be told why it never will.

        What is missing is asked for.
        """
        catalog = self._collection.latest
        if self._fault(job, catalog) is not None:
            return True
        if job.endpoint in self._stale and not self._is_running(job.endpoint):
            self._drop(job.endpoint)
        if job.endpoint in self._stale:
            return False
        if job.endpoint not in self._loaded:
            self._ask_for_endpoint(catalog.endpoints[job.endpoint])
            return False
        missing = [card for _, card in catalog.beside(job) if card and card.key not in self._held]
        for card in missing:
            self._ask_for_adapter(card)
        return not missing and job.endpoint != self._leaving

    def take(self, job: Job) -> Material:
        """What a job that is ready is drawn with, marked as just used.

        Raises:
            ModelNotFound: it is gone, or has other weights than were asked for.
            ModelUnusable: its endpoint or adapter cannot be loaded, and why.
            UnsupportedValue: the family has no pipeline for such an edit.
        """
        catalog = self._collection.latest
        if (fault := self._fault(job, catalog)) is not None:
            raise unusable(*fault) from fault[1]
        loaded = self._loaded[job.endpoint]
        held = [self._held[card.key] for _, card in catalog.beside(job) if card]
        digests = {job.endpoint: loaded.origin.digest}
        digests |= {one.card.id: one.origin.digest for one in held}
        needs.check_digests(job, digests)
        self._last_use[job.endpoint] = next(self._uses)
        for one in held:
            self._last_use[job.endpoint, one.name] = next(self._uses)
            metrics.ADAPTER_HITS.labels(one.card.id).inc()
        scales = [use.scale for use in job.adapters]
        # What is no adapter has no scale: it is named so that it stays while it is used.
        scales += [1.0] * (len(held) - len(scales))
        names = [one.name for one in held]
        uses = tuple(map(AdapterUse, names, scales))
        promise: Promise = "bitwise" if loaded.card.batch_invariant else "near"
        pipeline = loaded.pipeline_for(job, names)
        return Material(pipeline, uses, digests, promise, loaded.preview_parts)

    def fetch(self, job: Job, told: Told) -> None:
        """Have what a job needs in memory, and tell when it is there or why it cannot be."""
        self.look(job)
        self._fetching.append((job, told))
        self._tell_fetched()

    def runs_alone(self, endpoint: str) -> bool:
        """Whether one sample at a time uses an endpoint."""
        return endpoint in self._loaded and self._loaded[endpoint].runs_alone

    def have_run_alone(self, endpoint: str) -> None:
        """From now on one sample at a time uses an endpoint."""
        if not self.runs_alone(endpoint):
            log.info("one sample at a time: its calls change a module", endpoint=endpoint)
            self._loaded[endpoint].runs_alone = True

    def measured(self, endpoint: str) -> AbstractContextManager[None]:
        """Note what an endpoint takes of the device meanwhile."""
        others = (one.at_work_bytes for id, one in self._loaded.items() if id != endpoint)
        return self.room.measured(self._loaded[endpoint], sum(others))

    def max_batch(self, endpoint: str, most: int) -> int:
        """How many samples of an endpoint run at once, of `most`."""
        card = self._collection.latest.endpoints.get(endpoint)
        return min(most, (card and card.max_batch) or most)

    def rest(self, endpoint: str) -> None:
        """An endpoint runs nothing for now."""
        if endpoint in self._loaded:
            self._drop_replaced()
            self._loaded[endpoint].rest()
        self._tell_fetched()

    def put(self, id: str, loaded: LoadedPipeline) -> None:
        """Keep a pipeline, dropping others that do not run while it is too much."""
        self._loaded[id] = loaded
        self._last_use[id] = next(self._uses)
        self._make_room(keep=id)
        self._share()

    def put_adapter(self, card: AdapterCard, weights: Found, origin: Origin) -> None:
        """Keep an adapter, dropping others that do not run while they are too many."""
        name = f"{card.key[1]}@{origin.digest}"
        key = (card.endpoint, name)
        size = size_bytes(weights)
        self._held[card.key] = Held(card, name, origin, size, rank_of(weights))
        self._last_use[key] = next(self._uses)
        if key not in self._adapter_sizes:
            self._loaded[card.endpoint].beside.add(name, weights)
            self._adapter_sizes[key] = size
        self._drop_replaced()
        running = self._running_adapters()
        for other in sorted(self._adapter_sizes, key=self._last_use.__getitem__):
            if sum(self._adapter_sizes.values()) <= self._budget.adapter_bytes:
                break
            if other not in running | {key}:
                self._drop_adapter(other)

    def close(self) -> None:
        """End the loader thread; whoever waits for it is told."""
        for _, told in self._fetching:
            told(ShuttingDown("The server is shutting down.", retry_after_seconds=5))
        self._loader.close()

    def _fault(self, job: Job, catalog: Catalog) -> tuple[str, Exception] | None:
        """What a job cannot be drawn with, and why."""
        ids = needs.names(job, catalog)
        for model_id, model in zip(ids, needs.models(job, catalog), strict=True):
            if model is None:
                return model_id, ModelNotFound(f"The model `{model_id}` is no longer served.")
            if fault := self._faults.get(model_id) or self._loader.fault(model_id):
                return model_id, fault
        return None

    def _inspect(self, job: Job, catalog: Catalog) -> None:
        """Look at the files of what a job needs and is not in memory: some may be of no use."""
        held = ({job.endpoint} & self._loaded.keys()) - self._stale - catalog.broken.keys()
        held |= {one.card.id for (owner, _), one in self._held.items() if owner == job.endpoint}
        for model in needs.models(job, catalog):
            if model is None:
                continue
            self._faults.pop(model.id, None)
            fault = None if model.id in held else self._fault_of(model, catalog)
            if fault is not None and not isinstance(fault, NotHereError):
                self._faults[model.id] = fault

    def _fault_of(self, model: Model, catalog: Catalog) -> CardError | None:
        """Why a model cannot be loaded, or not on this device."""
        fault = fault_of(model, catalog)
        return self.room.fault(model.endpoint) if fault is None and not model.adapter else fault

    def _is_running(self, endpoint: str) -> bool:
        return any(sample.endpoint == endpoint for sample in self._in_use())

    def _running_adapters(self) -> set[Key]:
        return {(sample.endpoint, use.route) for sample in self._in_use() for use in sample.uses}

    def _ask_for_endpoint(self, card: EndpointCard) -> None:
        if self._loader.is_reading(card.id):
            return
        if not self._make_room(self.room.plan(card), bytes_on_disk(card), keep=card.id):
            return
        files = partial(files_of, card)

        def read() -> Command:
            with metrics.LOAD_SECONDS.labels(card.id).time():
                fetch_missing(Model(card), partial(self.room.expect, card))
                if fault := self.room.fault(card):
                    raise fault
                plan = self.room.plan(card)
                loaded, origin = read_unchanged(
                    files, lambda: load(card, self._device, plan), self._digests
                )
                loaded.origin = origin
            return lambda: keep(loaded)

        def keep(loaded: LoadedPipeline) -> None:
            if loaded.origin.is_current:
                self.put(card.id, loaded)

        self._loader.read(card.id, lambda: [*files(), *needs.places(card)], read)

    def _ask_for_adapter(self, card: AdapterCard) -> None:
        loaded = self._loaded[card.endpoint]

        @metrics.ADAPTER_LOAD_SECONDS.time()
        def read() -> Command:
            fetch_missing(Model(loaded.card, card))

            def build() -> Found:
                with CONSTRUCTION if builds_modules(card) else READING:
                    return read_beside(card, loaded.base, loaded.device)

            weights, origin = read_unchanged(lambda: files_beside(card), build, self._digests)
            return lambda: keep(weights, origin)

        def keep(weights: Found, origin: Origin) -> None:
            if self._loaded.get(card.endpoint) is loaded and origin.is_current:
                self.put_adapter(card, weights, origin)

        self._loader.read(card.id, lambda: [card.place, *needs.places(card)], read)

    def _tell_fetched(self) -> None:
        for job, told in self._fetching.copy():
            if self.is_ready(job):
                self._fetching.remove((job, told))
                fault = self._fault(job, self._collection.latest)
                told(fault[1] if fault else None)

    def _make_room(self, plan: Plan | None = None, wanted_bytes: int = 0, *, keep: str) -> bool:
        """Drop what does not run until so much fits; false where something must end first."""
        running = {sample.endpoint for sample in self._in_use()} | {keep}
        for id in sorted(self._loaded, key=self._last_use.__getitem__):
            held = sum(loaded.size_bytes for loaded in self._loaded.values())
            plans = [*self._plans, *([plan] if plan else [])]
            if held + wanted_bytes <= self._budget.endpoint_bytes and self.room.is_for(plans):
                break
            if id not in running:
                self._drop(id)
            elif id != keep and wanted_bytes:
                self._leaving = id
                return False
        self._leaving = None
        return True

    @property
    def _plans(self) -> list[Plan]:
        return [loaded.plan for loaded in self._loaded.values() if loaded.plan]

    def _share(self) -> None:
        """Have forwards be no larger than what is left beside the weights of all."""
        for loaded in self._loaded.values():
            if loaded.plan:
                loaded.give(self.room.left_bytes(loaded.plan, self._plans))
            tell_memory(loaded)

    def _drop(self, id: str) -> None:
        for key in [key for key in self._adapter_sizes if key[0] == id]:
            self._drop_adapter(key)
        loaded = self._loaded.pop(id)
        loaded.close()
        self._stale.discard(id)
        self._forget(loaded.entries)
        self._share()
        tell_memory(loaded, is_gone=True)
        metrics.EVICTIONS.labels(id).inc()

    def _drop_replaced(self) -> None:
        """Let go of adapters' weights that no route means any more and nothing runs with."""
        held = {(endpoint, one.name) for (endpoint, _), one in self._held.items()}
        for key in self._adapter_sizes.keys() - held - self._running_adapters():
            self._drop_adapter(key)

    def _drop_adapter(self, key: Key) -> None:
        endpoint, name = key
        route = name.partition("@")[0]
        if (held := self._held.get((endpoint, route))) and held.name == name:
            del self._held[endpoint, route]
        gone = self._loaded[endpoint].beside.drop(name)
        del self._adapter_sizes[key]
        self._forget([*self._loaded[endpoint].entries, *gone])
        metrics.EVICTIONS.labels(f"{endpoint}:{route}").inc()
