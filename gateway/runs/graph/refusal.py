"""What is wrong with a graph, in the shape that ComfyUI itself answers with."""

from itertools import islice
from typing import Any

import msgspec

from gateway.errors import InvalidRequest, shortened

MAX_FAULTS = 50
"""Nodes that a refusal tells of: enough to mend a graph by."""

SHOWN_CHARACTERS = 200


class Fault(msgspec.Struct, frozen=True):
    """One fault of a node; `type` is one of ComfyUI's names for what can be wrong."""

    type: str
    message: str
    details: str
    extra_info: dict[str, Any] = msgspec.field(default_factory=dict)


class NodeFault(Exception):
    """Raised while a node is compiled; the compiler knows which node it was."""

    def __init__(self, fault: Fault, node_id: str | None = None) -> None:
        super().__init__(fault.message)
        self.fault = fault
        self.node_id = node_id


class GraphRefused(InvalidRequest):
    """The graph cannot be run; carries every fault found, by node."""

    code = "invalid_workflow"

    def __init__(self, error: Fault, node_errors: dict[str, dict[str, Any]]) -> None:
        sentences = [
            f"{node['class_type']} ({id}): {fault['message']}: {fault['details']}"
            for id, node in node_errors.items()
            for fault in node["errors"]
        ]
        super().__init__(" ".join([error.message, *sentences]), param="workflow_api")
        self.error: dict[str, Any] = msgspec.to_builtins(error)
        self.node_errors = node_errors


def invalid(message: str, details: str) -> GraphRefused:
    """A graph that is none, or too much of one."""
    return GraphRefused(Fault("invalid_prompt", message, details), {})


def node_errors(
    graph: dict[str, Any], faults: dict[str, list[Fault]], outputs_of: dict[str, list[str]]
) -> dict[str, dict[str, Any]]:
    """The `node_errors` object; `outputs_of` says which output nodes hang on a node."""
    return {
        shortened(id, SHOWN_CHARACTERS): {
            "errors": msgspec.to_builtins(found),
            "dependent_outputs": outputs_of.get(id, []),
            "class_type": shown(graph[id].get("class_type")) if id in graph else "",
        }
        for id, found in islice(faults.items(), MAX_FAULTS)
    }


def shown(value: Any) -> Any:
    """What was received, as an answer repeats it: numbers as they are, the rest cut short."""
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**64 else "a number of over 64 bits"
    if isinstance(value, str):
        return shortened(value, SHOWN_CHARACTERS)
    text = msgspec.json.encode(value).decode()
    return value if len(text) <= SHOWN_CHARACTERS else shortened(text, SHOWN_CHARACTERS)


def input_fault(
    type: str, message: str, name: str, value: Any, details: str = "", **extra: Any
) -> Fault:
    """A fault of one input, with what was received."""
    info = {"input_name": name, "received_value": shown(value), **extra}
    told = f"{name}: {details}" if details else name
    return Fault(type, message, shortened(told, 10 * SHOWN_CHARACTERS), info)


def not_in_list(name: str, value: Any, options: object) -> Fault:
    """A choice that is none of those offered."""
    listed = [str(option) for option in options] if hasattr(options, "__iter__") else []
    details = f"'{shown(value)}' is none of {listed}"
    return input_fault("value_not_in_list", "Value not in list", name, value, details)


def out_of_range(name: str, value: float, bound: float, *, above: bool, why: str = "") -> Fault:
    """A number beyond its bound; `why` says whose bound it is where it is not the node's own."""
    side, limit = ("bigger", "max") if above else ("smaller", "min")
    message = f"Value {value:g} {side} than {limit} of {bound:g}"
    return input_fault(f"value_{side}_than_{limit}", message, name, value, why)


def unsupported(name: str, value: Any, why: str) -> Fault:
    """A value ComfyUI would take and no pipeline call can say."""
    return input_fault("value_not_in_list", "Value not supported", name, value, why)
