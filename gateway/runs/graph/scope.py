"""What a node sees while it is compiled: its inputs, the catalogue, the drafts so far."""

from collections.abc import Callable
from typing import Any

from gateway.catalog.catalog import Catalog
from gateway.remarks import Code, Remark, of_syntax
from gateway.runs.graph.bounds import Bounds, Tally
from gateway.runs.graph.refusal import NodeFault, unsupported
from gateway.runs.graph.values import Draft


class Node:
    """One node with its inputs as values."""

    def __init__(self, id: str, class_type: str, values: dict[str, Any]) -> None:
        self.id = id
        self.class_type = class_type
        self.values = values

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def get(self, name: str, otherwise: Any = None) -> Any:
        """An input that may be absent."""
        return self.values.get(name, otherwise)

    def refuse(self, name: str, why: str) -> NodeFault:
        """A value of this node that no pipeline call can say."""
        return NodeFault(unsupported(name, self.values.get(name), why), self.id)


class Scope:
    """The graph's surroundings; compiling only ever adds drafts, notes and counts to it."""

    def __init__(
        self, catalog: Catalog, draw_seed: Callable[[str], int], bounds: Bounds = Bounds()
    ) -> None:
        self.catalog = catalog
        self.draw_seed = draw_seed
        self.tally = Tally(bounds)
        self.drafts: list[Draft] = []
        self.notes: list[Remark] = []

    def note(
        self, node: Node, text: str, code: Code = "read_freely", name: str | None = None
    ) -> None:
        """Say that something, maybe of one input, was read more freely than it was written."""
        param = f"{node.id}.{name}" if name else node.id
        self.notes.append(Remark(code, param, f"{node.class_type} ({node.id}): {text}"))

    def read(self, node: Node, name: str) -> str:
        """A prompt of a node, in which nothing but words is read."""
        for remark in of_syntax(name, node[name]):
            self.note(node, remark.message, remark.code, name)
        text: str = node[name]
        return text


Compile = Callable[[Node, Scope], tuple[Any, ...]]
