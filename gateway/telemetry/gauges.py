"""What is read off the engine when somebody asks: its work, and which adapters lie where.

By a setting the same is told under vLLM's names as well, which Kubernetes' routers read; what
each means there is in the README of `deploy/`.
"""

import time
from collections.abc import Collection as Several
from collections.abc import Iterable, Iterator
from typing import Any

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.catalog.catalog import Catalog
from gateway.catalog.collection import Collection
from gateway.engine.protocol import Engine, EngineStatus

ADAPTER_BYTES = 2**26
"""What a LoRA is taken for while none is in memory."""

LOAD_SECONDS = "gateway_adapter_load_seconds"
VLLM_LOAD_SECONDS = "vllm:lora_adapter_load_seconds"


class Gauges(Collector):
    """The metrics of a `registry`, and what an engine stands at."""

    def __init__(
        self, registry: Any, engine: Engine, collection: Collection, *, with_vllm: bool = False
    ) -> None:
        self._registry = registry
        self._engine = engine
        self._collection = collection
        self._with_vllm = with_vllm

    def collect(self) -> Iterator[Metric]:
        """All of it, as it is now."""
        status, catalog = self._engine.status(), self._collection.latest
        residents = _residents(status, catalog)
        slots = _slots(status, len(residents), catalog)
        yield from _own(status, residents, slots)
        for metric in self._registry.collect():
            yield metric
            if self._with_vllm and metric.name == LOAD_SECONDS:
                yield _loads(metric)
        if self._with_vllm and catalog.endpoints:
            yield from _vllms(status, residents, slots, catalog)


def _own(status: EngineStatus, residents: dict[str, int], slots: int) -> Iterator[Metric]:
    yield _gauge("gateway_queue_depth", "Samples waiting to start", [({}, status.num_waiting)])
    yield _gauge("gateway_running_samples", "Samples in progress", [({}, status.num_running)])
    queued = {one.name: one.queued_seconds for one in status.replicas}
    yield _gauge(
        "gateway_queued_seconds", "Seconds of work that a replica has to do",
        [({"replica": name}, seconds)
         for name, seconds in (queued or {"0": status.queued_seconds}).items()],
    )  # fmt: skip
    yield _gauge(
        "gateway_adapter_loaded", "LoRAs in memory",
        [({"model": id, "level": "gpu", "rank": str(rank)}, 1) for id, rank in residents.items()],
    )  # fmt: skip
    yield _gauge(
        "gateway_adapter_slots", "LoRAs for which there is memory, with those that are there",
        [({}, slots)],
    )  # fmt: skip
    busy = {"running": status.running_adapters, "waiting": status.waiting_adapters}
    yield _gauge(
        "gateway_adapter_in_use", "LoRAs that samples run or wait with",
        [({"model": id, "state": state}, 1) for state, ids in busy.items() for id in ids],
    )  # fmt: skip


def _vllms(
    status: EngineStatus, residents: dict[str, int], slots: int, catalog: Catalog
) -> Iterator[Metric]:
    """The same under vLLM's names; an endpoint beside the default one is told as a LoRA pinned."""
    base = catalog.default.id
    common = {"model_name": base, "engine": "0"}
    for name, said, value in (
        ("num_requests_waiting", "Samples that wait", status.num_waiting),
        ("num_requests_running", "Samples that run", status.num_running),
        ("num_gpu_loaded_lora_adapters", "LoRAs in memory", len(residents)),
        ("max_gpu_lora_adapters", "LoRAs for which there is memory", slots),
    ):
        yield _gauge(f"vllm:{name}", said, [(common, value)])
    others = sorted({one.id for one in status.loaded} - {base})
    loaded = [
        (name, pinned, rank)
        for id, pinned, rank in (
            *((id, "false", rank) for id, rank in residents.items()),
            *((id, "true", 0) for id in others),
        )
        for name in _names(id, catalog)
    ]
    yield _gauge(
        "vllm:lora_adapter_loaded", "1 for what is in memory",
        [(common | {"adapter_name": name, "level": "gpu", "pinned": pinned, "rank": str(rank)}, 1)
         for name, pinned, rank in loaded],
    )  # fmt: skip
    info = {
        "max_lora": str(slots),
        "running_lora_adapters": _listed(status.running_adapters, catalog),
        "waiting_lora_adapters": _listed(status.waiting_adapters, catalog),
    }
    yield _gauge("vllm:lora_requests_info", "When it was last so", [(info, time.time())])


def _residents(status: EngineStatus, catalog: Catalog) -> dict[str, int]:
    """The LoRAs in memory by model id, and their ranks; a replica's that another has, once."""
    return {
        catalog.adapters[one.id, route].id: one.ranks.get(route, 0)
        for one in status.loaded
        for route in one.adapters
        if (one.id, route) in catalog.adapters
    }


def _slots(status: EngineStatus, num_loaded: int, catalog: Catalog) -> int:
    """How many LoRAs there is memory for: as large ones as those that are there."""
    if status.beside.total_bytes is None:
        return max(1, num_loaded, len(catalog.adapters))
    each = status.beside.used_bytes / num_loaded if num_loaded else ADAPTER_BYTES
    return max(1, num_loaded + int(status.beside.free // max(1, each)))


def _names(id: str, catalog: Catalog) -> list[str]:
    """What a model is asked for by: its id, and whatever else means just it."""
    aliases = (alias for alias, target in catalog.aliases.items() if target == id)
    return [id, *(alias for alias in aliases if "*" not in alias)]


def _listed(ids: Iterable[str], catalog: Catalog) -> str:
    return ",".join(name for id in ids for name in _names(id, catalog))


def _loads(metric: Metric) -> Metric:
    told = Metric(VLLM_LOAD_SECONDS, metric.documentation, metric.type)
    for sample in metric.samples:
        if not sample.name.endswith("_created"):
            name = sample.name.replace(LOAD_SECONDS, VLLM_LOAD_SECONDS)
            labels = {**sample.labels, "engine": "0", "transition": "load"}
            told.add_sample(name, labels, sample.value)
    return told


def _gauge(name: str, said: str, values: Several[tuple[dict[str, str], float]]) -> Metric:
    family = GaugeMetricFamily(name, said)
    for labels, value in values:
        family.add_sample(name, labels, value)
    return family
