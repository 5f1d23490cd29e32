"""Group nodes, which older editors save, as the subgraphs that newer ones turn them into.

A group's nodes go by their places in a list. Of their inputs and outputs those that are not
linked within the group are its own, in the nodes' order; its widgets are theirs in that order.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from gateway.runs.graph.refusal import invalid

PREFIXES = ("workflow>", "workflow/")
SUBGRAPH_INPUT = -10
"""The id that a link inside a subgraph comes from, where it comes from outside."""

Node = Mapping[str, Any]
Place = tuple[int, int]
"""A node's place in the group's list, and a slot of it."""


def group_of(kind: str, graph: Node) -> Node | None:
    """The group that a class of nodes stands for in a graph."""
    extra = graph.get("extra")
    groups = extra.get("groupNodes") if isinstance(extra, dict) else None
    if not isinstance(groups, dict):
        return None
    names = (kind.removeprefix(prefix) for prefix in PREFIXES if kind.startswith(prefix))
    found = groups.get(next(names, ""))
    return found if isinstance(found, dict) else None


def unfolded(group: Node, instance: Node) -> dict[str, Any]:
    """A group as the definition of a subgraph, filled with what an instance of it has.

    Raises:
        GraphRefused: it is no group that an editor would have saved.
    """
    try:
        return _unfolded(group, instance)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise invalid("A group node of the workflow cannot be read.", str(error)) from None


def _unfolded(group: Node, instance: Node) -> dict[str, Any]:
    nodes: list[dict[str, Any]] = [dict(node) for node in group["nodes"]]
    links: list[list[Any]] = []
    into: dict[Place, int] = {}
    inside = set()
    for source, slot, target, at, *_ in group["links"]:
        if source is not None:
            links.append([len(links), source, slot, target, at, ""])
            into[target, at] = len(links) - 1
            inside.add((source, slot))
    names = [str(entry["name"]) for entry in instance.get("inputs") or ()]
    open_inputs = [place for place in _inputs(nodes) if place not in into]
    for number, (target, at) in enumerate(open_inputs[: len(names)]):
        links.append([len(links), SUBGRAPH_INPUT, number, target, at, ""])
        into[target, at] = len(links) - 1
    shown = inside - {_place(entry) for entry in group.get("external") or ()}
    outputs: list[dict[str, list[int]]] = []
    for place in _outputs(nodes):
        if place not in shown:
            links.append([len(links), *place, -20, len(outputs), ""])
            outputs.append({"linkIds": [len(links) - 1]})
    values = iter(instance.get("widgets_values") or ())
    for index, node in enumerate(nodes):
        own = node.get("widgets_values") or []
        node["id"] = index
        node["widgets_values"] = [next(values, value) for value in own]
        node["inputs"] = [
            dict(entry) | {"link": into.get((index, slot))}
            for slot, entry in enumerate(node.get("inputs") or ())
        ]
    inputs = [{"name": name} for name in names]
    return {"nodes": nodes, "links": links, "inputs": inputs, "outputs": outputs}


def _inputs(nodes: list[dict[str, Any]]) -> Iterator[Place]:
    """Every input that is no widget's."""
    for place, node in enumerate(nodes):
        for slot, entry in enumerate(node.get("inputs") or ()):
            if "widget" not in entry:
                yield place, slot


def _outputs(nodes: list[dict[str, Any]]) -> Iterator[Place]:
    for place, node in enumerate(nodes):
        for slot in range(len(node.get("outputs") or ())):
            yield place, slot


def _place(external: list[Any]) -> Place:
    node, slot, *_ = external
    return (int(node["index"]) if isinstance(node, dict) else int(node)), int(slot)
