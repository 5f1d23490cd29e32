"""A Kubernetes router's look at a replica, and its scores, from nothing but `/metrics`."""

from hashlib import blake2b
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families

RESIDENT, IN_HOST, FREE, EVICTABLE, FULL = 1.0, 0.7, 0.6, 0.3, 0.0
HOME = 0.03


class Scraped(NamedTuple):
    """What the router knows of a replica; `loaded` are levels and whether they are pinned."""

    waiting: float
    running: float
    base: str
    loaded: dict[str, tuple[str, bool]]
    num_on_gpu: float
    slots: float
    active: set[str]
    awaited: set[str]
    load_seconds: float


def scraped(text: str) -> Scraped:
    """Read a page of metrics, under vLLM's names."""
    samples = [one for family in text_string_to_metric_families(text) for one in family.samples]
    found = {name: [one for one in samples if one.name == f"vllm:{name}"] for name in NAMES}
    assert all(len(found[name]) == 1 for name in NAMES if name != "lora_adapter_loaded"), found
    only = {name: ones[0] for name, ones in found.items() if len(ones) == 1}
    info = max(found["lora_requests_info"], key=lambda one: one.value).labels
    count = only["lora_adapter_load_seconds_count"]
    assert count.labels["transition"] == "load"
    return Scraped(
        waiting=only["num_requests_waiting"].value,
        running=only["num_requests_running"].value,
        base=only["num_gpu_loaded_lora_adapters"].labels["model_name"],
        loaded={
            one.labels["adapter_name"]: (one.labels["level"], one.labels["pinned"] == "true")
            for one in found["lora_adapter_loaded"]
            if one.value and one.labels["rank"].isdigit()
        },
        num_on_gpu=only["num_gpu_loaded_lora_adapters"].value,
        slots=only["max_gpu_lora_adapters"].value,
        active=set(filter(None, info["running_lora_adapters"].split(","))),
        awaited=set(filter(None, info["waiting_lora_adapters"].split(","))),
        load_seconds=only["lora_adapter_load_seconds_sum"].value / max(1.0, count.value),
    )


NAMES = (
    "num_requests_waiting", "num_requests_running", "lora_adapter_loaded",
    "num_gpu_loaded_lora_adapters", "max_gpu_lora_adapters", "lora_requests_info",
    "lora_adapter_load_seconds_sum", "lora_adapter_load_seconds_count",
)  # fmt: skip


def residency(model: str, replicas: dict[str, Scraped]) -> dict[str, float]:
    """By where an adapter lies, how little it costs each replica to draw with it."""
    preferred = max(replicas, key=lambda name: blake2b(f"{model}\0{name}".encode()).digest())
    scores = {}
    for name, one in replicas.items():
        level, _ = one.loaded.get(model, ("", False))
        is_idle = any(
            at == "gpu" and not pinned and other not in one.active
            for other, (at, pinned) in one.loaded.items()
        )
        scores[name] = {
            level == "gpu": RESIDENT,
            level == "cpu": IN_HOST,
            not level and one.num_on_gpu < one.slots: FREE,
            not level and one.num_on_gpu >= one.slots and is_idle: EVICTABLE,
        }.get(True, FULL)
        scores[name] += HOME if name == preferred and level != "gpu" else 0.0
    return scores


def affinity(model: str, one: Scraped) -> float:
    """By the requests under way, for routers that know of no residency."""
    if model in one.active:
        return 1.0
    if len(one.active) + len(one.awaited) < one.slots:
        return 0.8
    return 0.6 if model in one.awaited else 0.0


def queue(replicas: dict[str, Scraped]) -> dict[str, float]:
    """1 for the shortest queue, 0 for the longest."""
    lengths = {name: one.waiting for name, one in replicas.items()}
    least, most = min(lengths.values()), max(lengths.values())
    return {name: (most - n) / (most - least) if most > least else 1.0
            for name, n in lengths.items()}  # fmt: skip
