"""What a node sees while it is compiled: its inputs, the catalogue, the drafts so far."""

from collections.abc import Callable
from typing import Any

from gateway.catalog.catalog import Catalog
from gateway.errors import InvalidRequest
from gateway.remarks import Code, Remark, of_syntax
from gateway.runs.graph.bounds import Bounds, Tally
from gateway.runs.graph.refusal import NodeFault, input_fault, unsupported
from gateway.runs.graph.values import Draft, Loaded, Picture


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


SizeOf = Callable[[str, str], tuple[int, int] | None]
"""`(width, height)` of a picture that a source is, for an input's name; None for one elsewhere.

It raises InvalidRequest for one that cannot be used.
"""


def unseen(source: str, param: str) -> None:
    """Nothing is known of pictures before they are there."""


class Scope:
    """The graph's surroundings; compiling only ever adds drafts, notes and counts to it."""

    def __init__(
        self,
        catalog: Catalog,
        draw_seed: Callable[[str], int],
        bounds: Bounds = Bounds(),
        size_of: SizeOf = unseen,
    ) -> None:
        self.catalog = catalog
        self.draw_seed = draw_seed
        self._size_of = size_of
        self.tally = Tally(bounds)
        self.drafts: list[Draft] = []
        self.notes: list[Remark] = []

    def note(
        self, node: Node, text: str, code: Code = "read_freely", name: str | None = None
    ) -> None:
        """Say that something, maybe of one input, was read more freely than it was written."""
        param = f"{node.id}.{name}" if name else node.id
        self.notes.append(Remark(code, param, f"{node.class_type} ({node.id}): {text}"))

    def loaded(self, name: str, source: str) -> Picture:
        """The picture that an input names, or is.

        Raises:
            NodeFault: it is one that cannot be used.
        """
        try:
            return Picture(Loaded(source), size=self._size_of(source, name))
        except InvalidRequest as error:
            message = "Custom validation failed for node"
            fault = input_fault("custom_validation_failed", message, name, source, error.message)
            raise NodeFault(fault) from None

    def read(self, node: Node, name: str) -> str:
        """A prompt of a node, in which nothing but words is read."""
        for remark in of_syntax(name, node[name]):
            self.note(node, remark.message, remark.code, name)
        text: str = node[name]
        return text


Compile = Callable[[Node, Scope], tuple[Any, ...]]
