"""The values of a node's widgets, which the editor keeps as a list, by the inputs' names."""

from collections import deque
from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.runs.graph.seeds import SEED_INPUTS
from gateway.runs.graph.shaping import BY, RULES
from gateway.runs.graph.table import TABLE

CONTROLS = frozenset({"fixed", "increment", "decrement", "randomize"})
"""What becomes of a seed after the graph has run, which the editor keeps behind it."""

SEEDS = frozenset({*SEED_INPUTS.values(), "value"})
END = object()


def widget_values(kind: str, node: Mapping[str, Any]) -> dict[str, Any]:
    """A node's values by their inputs; what is missing at the end is as the class declares it."""
    given = node.get("widgets_values")
    if isinstance(given, dict):
        return {name: _written(value) for name, value in given.items() if name != "videopreview"}
    found: dict[str, Any] = {}
    values = iter(given if isinstance(given, list) else ())
    names, value = deque(_names(kind, node)), next(values, END)
    while names and value is not END:
        name = names.popleft()
        if name == BY and f"{BY}." not in "".join(names):
            names.extendleft(reversed([f"{BY}.{more}" for more in RULES.get(str(value), ())]))
        found[name], value = _written(value), next(values, END)
        if name in SEEDS and _is_control(value):
            value = next(values, END)
    if kind in TABLE:
        for name, declared in TABLE[kind].inputs.items():
            if declared.is_literal and name not in found and declared.default is not msgspec.UNSET:
                found[name] = declared.default
    return found


def _names(kind: str, node: Mapping[str, Any]) -> list[str]:
    """The widgets of a node in order: as the editor lists them, where it does, or as declared."""
    inputs = node.get("inputs")
    listed = [
        str(entry["widget"].get("name"))
        for entry in (inputs if isinstance(inputs, list) else ())
        if isinstance(entry, dict) and isinstance(entry.get("widget"), dict)
    ]
    inputs_of = TABLE[kind].inputs if kind in TABLE else {}
    declared = [name for name, one in inputs_of.items() if one.is_literal and "." not in name]
    return listed if len(listed) >= len(declared) else declared


def _is_control(value: Any) -> bool:
    """Whether a value says what becomes of a seed, in a word or, long ago, by yes and no."""
    return isinstance(value, bool) or (isinstance(value, str) and value in CONTROLS)


def _written(value: Any) -> Any:
    """A list that is a value, told from a link."""
    return {"__value__": value} if isinstance(value, list) else value
