"""Seeds settled before a graph is stored: what was random is drawn and written down."""

import copy
from collections.abc import Callable
from typing import Any

from gateway.outside.documents import WHOLE_NUMBERS
from gateway.outside.spelling import is_absent, whole
from gateway.runs.graph.literals import is_link, unrounded

SEED_INPUTS = {
    "KSampler": "seed",
    "KSamplerAdvanced": "noise_seed",
    "SamplerCustom": "noise_seed",
    "RandomNoise": "noise_seed",
}
SOURCES = {
    "PrimitiveInt": "value",
    "ComfyUIDeployExternalSeed": "default_value",
    "ComfyUIDeployExternalNumberInt": "default_value",
    "ComfyUIDeployExternalNumberSliderInt": "default_value",
}
"""Nodes that a seed may be linked to, and where they keep it."""


def settle(
    graph: dict[str, Any], draw: Callable[[], int], offset: int = 0
) -> tuple[dict[str, Any], dict[str, int]]:
    """Draw every seed that is absent or -1; add `offset` to those that were written.

    Returns the graph and the seeds by node id, so that a run can be told and repeated.
    """
    settled, seeds = copy.deepcopy(graph), {}
    for id, node in graph.items():
        name = SEED_INPUTS.get(node.get("class_type", ""))
        place = name and _place(graph, id, name)
        if not place or place[0] in seeds:
            continue
        owner, field = place
        given = settled[owner].setdefault("inputs", {})
        seed = _settled(graph[owner], given.get(field), draw, offset)
        if seed is not None:
            given[field] = seeds[owner] = seed
    return settled, seeds


def _place(graph: dict[str, Any], id: str, name: str) -> tuple[str, str] | None:
    """The node and input where a sampler's seed is written; None where it cannot be known."""
    given = (graph[id].get("inputs") or {}).get(name)
    if not is_link(given):
        return id, name
    source = str(given[0]) if given else ""
    field = SOURCES.get(graph.get(source, {}).get("class_type", ""))
    return (source, field) if field else None


def _settled(node: dict[str, Any], value: Any, draw: Callable[[], int], offset: int) -> int | None:
    given = node.get("inputs") or {}
    low, high = 0, 2**64 - 1
    if node["class_type"] == "ComfyUIDeployExternalSeed":
        low, high = _integer(given.get("min_value"), 1), _integer(given.get("max_value"), 2**32 - 1)
    if is_absent(value) or _integer(value, 0) == -1:
        return int(low + draw() % (max(high, low) - low + 1))
    seed = _integer(value, None)
    if seed is None or not low <= seed <= high:
        return None  # the compiler says what is wrong with it
    span = high - low + 1
    return int(low + (seed - low + offset) % span)


def _integer(value: Any, otherwise: Any) -> Any:
    try:
        found = unrounded(whole(value))
    except ValueError:
        return otherwise
    return found if found in WHOLE_NUMBERS else otherwise
