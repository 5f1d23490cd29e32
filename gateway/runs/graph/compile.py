"""A ComfyUI graph in API format, compiled to the jobs a person would write by hand."""

import zlib
from typing import Any

import msgspec

from gateway.catalog.catalog import Catalog
from gateway.runs.graph import (
    conditioning,
    controls,
    externals,
    imaging,
    loading,
    measuring,
    patches,
    sampling,
    shaping,
)
from gateway.runs.graph.bounds import Bounds
from gateway.runs.graph.definition import ANY, Input
from gateway.runs.graph.literals import is_link, literal
from gateway.runs.graph.order import (
    check_classes,
    check_form,
    dependents,
    output_nodes,
    run_order,
)
from gateway.runs.graph.refusal import (
    Fault,
    GraphRefused,
    NodeFault,
    input_fault,
    node_errors,
    unsupported,
)
from gateway.runs.graph.scope import Compile, Node, Scope, SizeOf, unseen
from gateway.runs.graph.switches import switched
from gateway.runs.graph.table import TABLE
from gateway.runs.graph.values import Edge, Output, Plan

COMPILERS: dict[str, Compile] = (
    loading.COMPILERS
    | conditioning.COMPILERS
    | controls.COMPILERS
    | imaging.COMPILERS
    | measuring.COMPILERS
    | patches.COMPILERS
    | sampling.COMPILERS
    | shaping.COMPILERS
    | externals.COMPILERS
)


def compile_graph(
    graph: dict[str, Any],
    catalog: Catalog,
    bounds: Bounds = Bounds(),
    size_of: SizeOf = unseen,
) -> Plan:
    """The jobs of a graph and where their pictures go.

    Seeds that are still -1 are drawn from the graph itself, so that compiling the same
    graph twice gives the same jobs; `seeds.settle` draws them at random beforehand.
    It may take a tenth of a second: not on an event loop.

    Raises:
        GraphRefused: with every fault found, by node.
    """
    check_form(graph)
    graph = switched(graph)
    check_classes(graph)
    outputs = output_nodes(graph)
    order = run_order(graph, outputs)
    entropy = zlib.crc32(msgspec.json.encode(graph, order="sorted"))
    scope = Scope(catalog, lambda id: zlib.crc32(id.encode(), entropy), bounds, size_of)
    compiled = _Compiled(graph, scope)
    for id in order:
        compiled.add(id)
    if compiled.faults:
        error = Fault("prompt_outputs_failed_validation", "The workflow cannot run.", "")
        errors = node_errors(graph, compiled.faults, dependents(graph, outputs))
        raise GraphRefused(error, errors)
    found = [value for id in outputs for value in compiled.values[id] or ()]
    kept = tuple(value for value in found if isinstance(value, Output))
    return Plan(tuple(scope.drafts), kept, tuple(scope.notes))


class _Compiled:
    """The nodes compiled so far; None for one at fault, or that hangs on one."""

    def __init__(self, graph: dict[str, Any], scope: Scope) -> None:
        self.graph = graph
        self.scope = scope
        self.values: dict[str, tuple[Any, ...] | None] = {}
        self.faults: dict[str, list[Fault]] = {}

    def add(self, id: str) -> None:
        """Compile one node whose links have been compiled before."""
        class_type = self.graph[id]["class_type"]
        inputs = self._inputs(id)
        self.values[id] = None
        if inputs is None:
            return
        try:
            node = Node(id, class_type, inputs)
            self.values[id] = COMPILERS[class_type](node, self.scope)
        except NodeFault as raised:
            self._blame(raised.node_id or id, raised.fault)

    def _inputs(self, id: str) -> dict[str, Any] | None:
        """A node's inputs as values; None where some are at fault."""
        given = self.graph[id].get("inputs") or {}
        found: dict[str, Any] = {}
        whole = True
        for name, wanted in TABLE[self.graph[id]["class_type"]].inputs.items():
            try:
                value = self._input(name, wanted, given)
            except NodeFault as raised:
                self._blame(id, raised.fault)
                whole = False
                continue
            if value is _BROKEN:
                whole = False
            elif value is not msgspec.UNSET:
                found[name] = value
        return found if whole else None

    def _input(self, name: str, wanted: Input, given: dict[str, Any]) -> Any:
        if name not in given:
            if wanted.is_required:
                message = "Required input is missing"
                raise NodeFault(input_fault("required_input_missing", message, name, None))
            return wanted.default
        if isinstance(value := given[name], dict) and "__value__" in value:
            value = value["__value__"]
        elif is_link(value):
            return self._linked(name, wanted, value)
        self.scope.tally.text(name, value, wanted.max_characters)
        return literal(name, wanted, value)

    def _linked(self, name: str, wanted: Input, link: list[Any]) -> Any:
        if len(link) != 2 or not isinstance(link[1], int) or str(link[0]) not in self.graph:
            message = "Bad linked input, wanted [node id, slot] of a node that exists"
            raise NodeFault(input_fault("bad_linked_input", message, name, link, str(link)))
        source, slot = str(link[0]), link[1]
        outputs = TABLE[self.graph[source]["class_type"]].outputs
        if not 0 <= slot < len(outputs):
            message = f"Bad linked input, node {source} has {len(outputs)} outputs"
            raise NodeFault(input_fault("bad_linked_input", message, name, link, str(link)))
        received = outputs[slot]
        if not _fits(received, wanted.type):
            message = "Return type mismatch between linked nodes"
            details = f"received {received}, wanted {wanted.type}"
            fault = input_fault(
                "return_type_mismatch", message, name, link, details, received_type=received
            )
            raise NodeFault(fault)
        values = self.values[source]
        if values is None:
            return _BROKEN
        if isinstance(values[slot], Edge) and not wanted.measured:
            why = "the size of a picture that is not there yet can be a latent's alone"
            raise NodeFault(unsupported(name, link, why))
        if not wanted.is_literal or isinstance(values[slot], Edge):
            return values[slot]
        self.scope.tally.text(name, values[slot], wanted.max_characters)
        return literal(name, wanted, values[slot])

    def _blame(self, id: str, fault: Fault) -> None:
        found = self.faults.setdefault(id, [])
        if fault not in found:
            found.append(fault)


_BROKEN = object()


def _fits(received: str, wanted: str) -> bool:
    """Whether an output may be linked to an input; a choice takes text and anything."""
    if received == wanted or ANY in (received, wanted):
        return True
    return wanted == "COMBO" and received == "STRING"
