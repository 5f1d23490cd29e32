"""Graphs as ComfyUI's editor would save them, made from those in API format."""

from typing import Any

from gateway.runs.graph.table import TABLE
from tests.runs.graph.examples import Graph

SEEDS = ("seed", "noise_seed")
SEEN = {"pos": [1, 2], "size": [3, 4], "flags": {}, "properties": {}}


class Drawing:
    """A sheet of the editor: nodes, and links by number."""

    def __init__(self) -> None:
        self.nodes: list[dict[str, Any]] = []
        self.links: list[list[Any]] = []

    def node(self, id: Any, kind: str, *values: Any, **more: Any) -> dict[str, Any]:
        """Put a node down."""
        found = {"id": id, "type": kind, "mode": 0, "inputs": [], "outputs": [], **SEEN}
        found |= {"widgets_values": list(values)} | more
        self.nodes.append(found)
        return found

    def link(self, source: Any, slot: int, target: dict[str, Any], name: str, kind: str) -> int:
        """Link an output to an input, which is put down as well."""
        number = len(self.links) + 1
        target["inputs"].append({"name": name, "type": kind, "link": number})
        place = len(target["inputs"]) - 1
        self.links.append([number, source, slot, target["id"], place, kind])
        return number

    def saved(self, **more: Any) -> dict[str, Any]:
        """The file that the editor writes."""
        return {"nodes": self.nodes, "links": self.links, "version": 0.4, **more}


def drawn(graph: Graph) -> Drawing:
    """A graph as the editor has it, its values in a list behind each other."""
    found = Drawing()
    for id, node in graph.items():
        kind, given = node["class_type"], node["inputs"]
        put = found.node(int(id), kind)
        put["outputs"] = [{"name": type, "type": type} for type in TABLE[kind].outputs]
        for name, declared in TABLE[kind].inputs.items():
            value = given.get(name, declared.default)
            if isinstance(value, list):
                source, slot = value
                found.link(int(source), slot, put, name, declared.type)
            elif declared.is_literal:
                put["widgets_values"].append(value)
                put["widgets_values"] += ["randomize"] if name in SEEDS else []
        put["widgets_values"] += ["image"] if kind == "LoadImage" else []
    return found
