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


def switched(graph: Graph) -> Graph:
    """A graph of the right form without its switches, nor what only hung on their other side.

    A switch that nothing plain sets stays, to be refused like any node that does not run here.

    Raises:
        GraphRefused: switches lead to each other in a circle.
    """
    chosen = {id: _chosen(graph, id) for id, node in graph.items() if node["class_type"] == SWITCH}
    chosen = {id: side for id, side in chosen.items() if side is not None}
    if not chosen:
        return graph
    kept = {id: _rewired(node, chosen) for id, node in graph.items() if id not in chosen}
    needed = _needed(kept)
    return {id: node for id, node in kept.items() if id in needed}


def _chosen(graph: Graph, id: str) -> Any:
    """What a switch lets through: a link, or a value in a list of its own; None if unknown."""
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


def _rewired(node: Graph, chosen: Mapping[str, Any]) -> Graph:
    """A node whose links lead past the switches; an input that none lets anything to is gone."""
    inputs = {}
    for name, given in (node.get("inputs") or {}).items():
        found = _through(given, chosen)
        if found:
            inputs[name] = found[0]
    return node | {"inputs": inputs}


def _through(value: Any, chosen: Mapping[str, Any]) -> tuple[Any, ...]:
    """What a value is, followed through the switches that it is linked to; nothing for nothing."""
    seen = set()
    while is_link(value) and len(value) == 2 and (switch := str(value[0])) in chosen:
        if switch in seen:
            message = "The workflow's links run in a circle."
            raise GraphRefused(Fault("dependency_cycle", message, f"at node {switch}"), {})
        seen.add(switch)
        if not chosen[switch]:
            return ()
        (value,) = chosen[switch]
    return (value,)


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
