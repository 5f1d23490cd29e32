"""Graphs as ComfyUI's editor saves them, turned into what its server is sent.

The editor keeps what it draws: reroutes, primitives, notes, subgraphs, nodes that are muted or
bypassed. Of all that links remain, from a value to where it is used. Values of widgets are a
list, in the order in which a class of nodes declares its inputs.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from gateway.runs.graph.bounds import MAX_NESTING, MAX_NODES
from gateway.runs.graph.definition import ANY, LITERALS
from gateway.runs.graph.groups import SUBGRAPH_INPUT, group_of, unfolded
from gateway.runs.graph.refusal import invalid
from gateway.runs.graph.widgets import widget_values

MUTED, BYPASSED = 2, 4
MAX_SLOTS = 256
"""Of a bypassed node, that are looked through; no class has forty."""

VIRTUAL = frozenset({"Reroute", "PrimitiveNode", "Note", "MarkdownNote"})
Node = Mapping[str, Any]


class Link:
    """Where a link comes from."""

    def __init__(self, given: Any) -> None:
        if isinstance(given, dict):
            self.source, self.slot = given.get("origin_id"), given.get("origin_slot")
        else:
            self.source, self.slot = (given[1], given[2])


class Value:
    """What a link leads to where that is written down, not made by a node."""

    def __init__(self, value: Any) -> None:
        self.value = {"__value__": value} if isinstance(value, list) else value


Source = tuple[str, int] | Value | None
"""A node and a slot of it, a value, or nothing."""


class Sheet:
    """One drawing of nodes and links: the graph itself, or a subgraph where it is used.

    `prefix` is what stands before the ids of its nodes; `outer` is the sheet that its `instance`
    lies on. `traced` are the links that have been followed to where they come from.
    """

    def __init__(
        self,
        drawn: Node,
        prefix: str = "",
        outer: "Sheet | None" = None,
        instance: Node | None = None,
    ) -> None:
        self.prefix = prefix
        self.outer = outer
        self.inputs, self.outputs = _dicts(drawn, "inputs"), _dicts(drawn, "outputs")
        self.given = dict(_linked(instance or {}))
        self.promoted = _promoted(self.inputs, instance or {})
        self.traced: dict[Any, Source] = {}
        self.nodes = {str(node.get("id")): node for node in _dicts(drawn, "nodes")}
        self.links: dict[Any, Link] = {}
        for link in drawn.get("links") or ():
            if isinstance(link, dict) and isinstance(link.get("id"), int):
                self.links[link["id"]] = Link(link)
            elif isinstance(link, list) and len(link) >= 5 and isinstance(link[0], int):
                self.links[link[0]] = Link(link)
        self.inner: dict[str, Sheet] = {}


def is_of_editor(graph: Any) -> bool:
    """Whether a graph is in the editor's format."""
    return isinstance(graph, dict) and isinstance(graph.get("nodes"), list) and "links" in graph


def flattened(graph: Node) -> dict[str, Any]:
    """The graph in API format, without anything that is there to be looked at.

    Raises:
        GraphRefused: it has too many nodes, or its links run in a circle.
    """
    definitions = graph.get("definitions")
    subgraphs = _dicts(definitions, "subgraphs") if isinstance(definitions, dict) else []
    known = {str(one.get("id")): one for one in subgraphs}
    top = Sheet(graph)
    places = _placed(top, graph, known)
    return {sheet.prefix + id: _node(sheet, node) for sheet, id, node in places}


def _placed(top: Sheet, graph: Node, known: Mapping[str, Node]) -> list[tuple[Sheet, str, Node]]:
    """Every node that does something, on the sheets that subgraphs unfold to."""
    found: list[tuple[Sheet, str, Node]] = []
    sheets = [(top, 0)]
    num_nodes = 0
    while sheets:
        sheet, depth = sheets.pop()
        num_nodes += len(sheet.nodes)
        if num_nodes > MAX_NODES or depth > MAX_NESTING:
            raise invalid(f"The workflow has more than {MAX_NODES} nodes.", "subgraphs unfolded")
        for id, node in sheet.nodes.items():
            kind = str(node.get("type"))
            if kind in VIRTUAL or node.get("mode") in (MUTED, BYPASSED):
                continue
            if (group := group_of(kind, graph)) is not None:
                drawn: Node | None = unfolded(group, node)
            else:
                drawn = known.get(kind)
            if drawn is None:
                found.append((sheet, id, node))
                continue
            sheet.inner[id] = Sheet(drawn, f"{sheet.prefix}{id}:", sheet, node)
            sheets.append((sheet.inner[id], depth + 1))
    return found


def _node(sheet: Sheet, node: Node) -> dict[str, Any]:
    kind = str(node.get("type"))
    inputs = widget_values(kind, node)
    for name, link in _linked(node):
        source = _source(sheet, link)
        if source is None:
            continue
        inputs[name] = source.value if isinstance(source, Value) else list(source)
    found: dict[str, Any] = {"class_type": kind, "inputs": inputs}
    if isinstance(node.get("title"), str):
        found["_meta"] = {"title": node["title"]}
    return found


def _source(sheet: Sheet, link_id: Any) -> Source:
    """The node and slot that a link comes from in the end, or a value; None for nothing.

    Every link is followed once, however many hang on it.

    Raises:
        GraphRefused: it comes from itself.
    """
    path: list[tuple[Sheet, int]] = []
    seen: set[tuple[str, int]] = set()
    found: Source = None
    while isinstance(link_id, int) and link_id in sheet.links:
        if link_id in sheet.traced:
            found = sheet.traced[link_id]
            break
        if (sheet.prefix, link_id) in seen:
            raise invalid("The workflow's links run in a circle.", f"at link {link_id}")
        seen.add((sheet.prefix, link_id))
        path.append((sheet, link_id))
        step = _before(sheet, sheet.links[link_id])
        if not isinstance(step, Step):
            found = step
            break
        sheet, link_id = step.sheet, step.link_id
    for passed, id in path:
        passed.traced[id] = found
    return found


class Step:
    """The next link to be followed, and the sheet that it is on."""

    def __init__(self, sheet: Sheet, link_id: Any) -> None:
        self.sheet, self.link_id = sheet, link_id


def _before(sheet: Sheet, link: Link) -> Step | Source:
    """What stands at a link's beginning."""
    slot = link.slot if isinstance(link.slot, int) and link.slot >= 0 else 0
    if link.source == SUBGRAPH_INPUT and sheet.outer is not None:
        outside = _outside(sheet, slot)
        return outside if isinstance(outside, Value) else Step(sheet.outer, outside)
    id = str(link.source)
    node = sheet.nodes.get(id)
    found: Step | Source = (f"{sheet.prefix}{id}", slot)
    if node is None or node.get("mode") == MUTED:
        found = None
    elif node.get("mode") == BYPASSED:
        found = Step(sheet, _passed_by(node, slot))
    elif node.get("type") == "Reroute":
        found = Step(sheet, next((link for _, link in _linked(node)), None))
    elif node.get("type") == "PrimitiveNode":
        values = node.get("widgets_values")
        found = Value(values[0]) if isinstance(values, list) and values else None
    elif id in sheet.inner:
        found = Step(sheet.inner[id], _made(sheet.inner[id], slot))
    return found


def _outside(sheet: Sheet, slot: int) -> Any:
    """The link on the outer sheet that comes into a subgraph's slot, or its widget's value."""
    name = sheet.inputs[slot].get("name") if slot < len(sheet.inputs) else None
    if name in sheet.given:
        return sheet.given[name]
    return Value(sheet.promoted[name]) if name in sheet.promoted else None


def _promoted(inputs: list[dict[str, Any]], instance: Node) -> dict[Any, Any]:
    """The values of a subgraph's own widgets: of its inputs that may be written down, in order."""
    values = instance.get("widgets_values")
    names = [one.get("name") for one in inputs if one.get("type") in LITERALS]
    if not isinstance(values, list) or len(values) != len(names):
        return {}  # as older editors save it: the nodes inside have them
    return {name: value for name, value in zip(names, values, strict=True) if _is_name(name)}


def _made(sheet: Sheet, slot: int) -> Any:
    """The link inside a subgraph that goes to one of its outputs."""
    ids = sheet.outputs[slot].get("linkIds") if slot < len(sheet.outputs) else None
    return ids[0] if isinstance(ids, list) and ids else None


def _passed_by(node: Node, slot: int) -> Any:
    """The link that a bypassed node hands on: of the same place, else of the same type."""
    inputs, outputs = _dicts(node, "inputs")[:MAX_SLOTS], _dicts(node, "outputs")
    if slot >= min(len(outputs), MAX_SLOTS):
        return None
    wanted = outputs[slot].get("type")
    nearest = [*inputs[slot : slot + 1], *inputs]
    return next((one.get("link") for one in nearest if _is_like(one.get("type"), wanted)), None)


def _is_like(given: Any, wanted: Any) -> bool:
    return given == wanted or ANY in (given, wanted)


def _linked(node: Node) -> Iterator[tuple[str, Any]]:
    """The inputs of a node that something is linked to."""
    for entry in _dicts(node, "inputs"):
        if entry.get("link") is not None and _is_name(entry.get("name")):
            yield entry["name"], entry["link"]


def _is_name(value: Any) -> bool:
    return isinstance(value, str)


def _dicts(given: Node, name: str) -> list[dict[str, Any]]:
    """A list of objects; whatever else is in it is no part of a drawing."""
    listed = given.get(name)
    return [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
