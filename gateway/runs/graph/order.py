"""The shape of a graph: what it must look like at all, and in which order its nodes run."""

from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from gateway.runs.graph.bounds import (
    MAX_BYTES,
    MAX_ID_CHARACTERS,
    MAX_NESTING,
    MAX_NODES,
    MAX_OUTPUTS,
    nesting,
)
from gateway.runs.graph.literals import is_link
from gateway.runs.graph.refusal import Fault, GraphRefused, invalid, node_errors, shown
from gateway.runs.graph.table import TABLE


def check_form(graph: Any) -> None:
    """Refuse what is no API-format graph.

    Raises:
        GraphRefused: every node that is none is listed.
    """
    if not isinstance(graph, dict) or not graph:
        raise invalid("The workflow is not an object of nodes.", "")
    if "nodes" in graph and "links" in graph:
        raise invalid("The workflow is in the editor's format, and cannot be read.", "")
    if len(graph) > MAX_NODES:
        raise invalid(f"The workflow has more than {MAX_NODES} nodes.", str(len(graph)))
    if nesting(graph) > MAX_NESTING:
        raise invalid("The workflow is nested too deeply.", f"over {MAX_NESTING} levels")
    if len(msgspec.json.encode(graph)) > MAX_BYTES:
        why = "Upload its pictures and name them instead."
        raise invalid(f"The workflow has over {MAX_BYTES >> 20} MiB as JSON.", why)
    if any(_form_fault(id, node) for id, node in graph.items()):
        _refuse(graph, {id: _form_fault(id, node) or _class_fault(id, node)
                        for id, node in graph.items()})  # fmt: skip


def check_classes(graph: dict[str, Any]) -> None:
    """Refuse classes of nodes outside the table.

    Raises:
        GraphRefused: every unknown node is listed.
    """
    _refuse(graph, {id: _class_fault(id, node) for id, node in graph.items()})


def _refuse(graph: dict[str, Any], found: dict[str, Fault | None]) -> None:
    faults = {id: [fault] for id, fault in found.items() if fault}
    if faults:
        error = Fault("invalid_prompt", "The workflow has nodes that cannot run here.", "")
        known = {id: node if isinstance(node, dict) else {} for id, node in graph.items()}
        raise GraphRefused(error, node_errors(known, faults, {}))


def output_nodes(graph: dict[str, Any]) -> list[str]:
    """The nodes that make the graph do anything.

    Raises:
        GraphRefused: there are none.
    """
    found = outputs_in(graph)
    if not found:
        raise GraphRefused(Fault("prompt_no_outputs", "The workflow has no outputs.", ""), {})
    if len(found) > MAX_OUTPUTS:
        raise invalid(f"The workflow has more than {MAX_OUTPUTS} outputs.", str(len(found)))
    return found


def outputs_in(graph: Mapping[str, Any]) -> list[str]:
    """The same of any graph, which may have none."""
    return [id for id, node in graph.items() if _is_output(node)]


def narrowed(graph: Any, outputs: Collection[str]) -> Any:
    """A graph without the output nodes that are not among these."""
    if not isinstance(graph, dict):
        return graph
    return {id: node for id, node in graph.items() if id in outputs or not _is_output(node)}


def run_order(graph: dict[str, Any], outputs: list[str]) -> list[str]:
    """The nodes that outputs hang on, each after those it is linked to.

    Raises:
        GraphRefused: links run in a circle.
    """
    ordered: list[str] = []
    state: dict[str, bool] = {}  # False while a node's own links are being followed
    stack = [(id, False) for id in reversed(outputs)]
    while stack:
        id, followed = stack.pop()
        if followed:
            state[id] = True
            ordered.append(id)
            continue
        if id in state:
            continue
        state[id] = False
        stack.append((id, True))
        for source in linked(graph, id):
            if state.get(source) is False:
                message = "The workflow's links run in a circle."
                raise GraphRefused(Fault("dependency_cycle", message, f"at node {source}"), {})
            if source not in state:
                stack.append((source, False))
    return ordered


def linked(graph: dict[str, Any], id: str) -> list[str]:
    """The existing nodes that a node's known inputs are linked to."""
    given = graph[id].get("inputs") or {}
    known = TABLE[graph[id]["class_type"]].inputs
    return [
        str(value[0])
        for name, value in given.items()
        if name in known and is_link(value) and value and str(value[0]) in graph
    ]


def dependents(graph: dict[str, Any], outputs: list[str]) -> dict[str, list[str]]:
    """For every node, the output nodes that hang on it."""
    found: dict[str, list[str]] = {}
    for output in outputs:
        for id in run_order(graph, [output]):
            found.setdefault(id, []).append(output)
    return found


def _is_output(node: Any) -> bool:
    kind = node.get("class_type") if isinstance(node, dict) else None
    return isinstance(kind, str) and kind in TABLE and TABLE[kind].is_output


def _form_fault(id: str, node: Any) -> Fault | None:
    if len(id) > MAX_ID_CHARACTERS:
        why = f"over {MAX_ID_CHARACTERS} characters"
        return Fault("invalid_prompt", "The node's id is too long", why)
    if not isinstance(node, dict) or not isinstance(node.get("class_type"), str):
        return Fault("invalid_prompt", "The node has no class_type", f"node {id}")
    if not isinstance(node.get("inputs", {}), dict):
        return Fault("invalid_prompt", "The node's inputs are not an object", f"node {id}")
    return None


def _class_fault(id: str, node: dict[str, Any]) -> Fault | None:
    if node["class_type"] in TABLE:
        return None
    known = f"node {id}; classes that run here: {', '.join(sorted(TABLE))}"
    return Fault("invalid_prompt", f"No node {shown(node['class_type'])} runs here", known)
