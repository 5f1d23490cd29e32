"""Switches, of which one side alone is executed: the other is taken out before anything is read."""

from collections.abc import Mapping
from typing import Any

from gateway.outside.spelling import truth
from gateway.runs.graph.literals import is_link
from gateway.runs.graph.refusal import Fault, GraphRefused
from gateway.runs.graph.table import TABLE

SWITCH = "ComfySwitchNode"
TRUTHS = {
    "PrimitiveBoolean": "value",
    "ComfyUIDeployExternalBoolean": "default_value",
}
"""Nodes that a switch may be set by, and where they keep it."""

Graph = dict[str, Any]
Side = tuple[Any, ...]
"""A link or a value, or nothing."""


def switched(graph: Graph) -> Graph:
    """A graph of the right form without its switches, nor what only hung on their other side.

    A switch that nothing plain sets stays, to be refused like any node that does not run here.

    Raises:
        GraphRefused: switches lead to each other in a circle.
    """
    sides = {id: _chosen(graph, id) for id, node in graph.items() if node["class_type"] == SWITCH}
    chosen = _led_through({id: side for id, side in sides.items() if side is not None})
    if not chosen:
        return graph
    kept = {id: _rewired(node, chosen) for id, node in graph.items() if id not in chosen}
    needed = _needed(kept)
    return {id: node for id, node in kept.items() if id in needed}


def _chosen(graph: Graph, id: str) -> Side | None:
    """What a switch lets through; None where that cannot be told."""
    inputs = graph[id].get("inputs") or {}
    setting = inputs.get("switch")
    if is_link(setting):
        source = graph.get(str(setting[0]) if setting else "", {})
        setting = (source.get("inputs") or {}).get(TRUTHS.get(source.get("class_type", ""), ""))
    try:
        side = "on_true" if truth(setting) else "on_false"
    except (ValueError, TypeError):
        return None
    return (inputs[side],) if side in inputs else ()


def _rewired(node: Graph, chosen: Mapping[str, Side]) -> Graph:
    """A node whose links lead past the switches; an input that none lets anything to is gone."""
    inputs = {}
    for name, given in (node.get("inputs") or {}).items():
        switch = _switch(given, chosen)
        if found := (given,) if switch is None else chosen[switch]:
            inputs[name] = found[0]
    return node | {"inputs": inputs}


def _led_through(chosen: dict[str, Side]) -> dict[str, Side]:
    """What each switch lets through in the end, past all the others that it is linked to."""
    known: dict[str, Side] = {}
    for id in chosen:
        path: list[str] = []
        seen: set[str] = set()
        at: str | None = id
        while at is not None and at not in known:
            if at in seen:
                message = "The workflow's links run in a circle."
                raise GraphRefused(Fault("dependency_cycle", message, f"at node {at}"), {})
            path.append(at)
            seen.add(at)
            side = chosen[at]
            at = _switch(side[0], chosen) if side else None
        found = known[at] if at is not None else chosen[path[-1]]
        known.update(dict.fromkeys(path, found))
    return known


def _switch(value: Any, chosen: Mapping[str, Side]) -> str | None:
    """The switch that a value is linked to."""
    id = str(value[0]) if is_link(value) and len(value) == 2 else None
    return id if id in chosen else None


def _needed(graph: Graph) -> set[str]:
    """The nodes that outputs hang on, by whatever inputs."""
    kinds = {id: TABLE.get(node["class_type"]) for id, node in graph.items()}
    waiting = [id for id, kind in kinds.items() if kind is not None and kind.is_output]
    found = set(waiting)
    while waiting:
        for value in graph[waiting.pop()]["inputs"].values():
            source = str(value[0]) if is_link(value) and value else ""
            if source in graph and source not in found:
                found.add(source)
                waiting.append(source)
    return found
