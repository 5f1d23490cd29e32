"""Values written into a graph: brought to their type, held to their range."""

from collections.abc import Callable
from typing import Any

from gateway.outside.documents import WHOLE_NUMBERS
from gateway.outside.spelling import chosen, decimal, truth, whole
from gateway.runs.graph.definition import ANY, Input
from gateway.runs.graph.refusal import NodeFault, input_fault, not_in_list, out_of_range

MAX_SEED = 2**64 - 1
JAVASCRIPT_STEP = 2**11
"""How far apart the numbers are that JavaScript has above 2**63."""


def is_link(value: Any) -> bool:
    """Whether a value is `[node id, slot]`; lists as literals are wrapped by ComfyUI."""
    return isinstance(value, list)


def literal(name: str, given: Input, value: Any) -> Any:
    """The value in its declared type.

    Raises:
        NodeFault: it cannot be converted, or is beyond its range or none of its choices.
    """
    if given.type == ANY:
        return value
    if not given.is_literal:
        fault = input_fault(
            "bad_linked_input", "A link is wanted here", name, value, f"wanted {given.type}"
        )
        raise NodeFault(fault)
    try:
        found = _CONVERT[given.type](value)
    except (ValueError, TypeError, OverflowError) as error:
        message = f"Failed to convert an input value to a {given.type} value"
        fault = input_fault(
            "invalid_input_type", message, name, value, str(error), exception_message=str(error)
        )
        raise NodeFault(fault) from None
    if given.options is not None:
        found = chosen(found, given.options)
    _check_range(name, given, found)
    return found


def _check_range(name: str, given: Input, value: Any) -> None:
    if given.type in ("INT", "FLOAT"):
        if value < given.min:
            raise NodeFault(out_of_range(name, value, given.min, above=False))
        if value > given.max:
            raise NodeFault(out_of_range(name, value, given.max, above=True))
    if given.options is not None and value not in given.options:
        raise NodeFault(not_in_list(name, value, given.options))


def _integer(value: Any) -> int:
    """Old SDKs send every number as a float, some as text."""
    found = int(value) if isinstance(value, bool) else unrounded(whole(value))
    if found not in WHOLE_NUMBERS:
        raise ValueError(f"{value} is beyond 64 bits")
    return found


def unrounded(number: int) -> int:
    """The largest seed there is, where JavaScript rounded it up to one more than there is.

    Other seeds above 2**53 it rounds to numbers that are seeds as well.
    """
    return MAX_SEED if MAX_SEED < number <= MAX_SEED + JAVASCRIPT_STEP else number


def _number(value: Any) -> float:
    return float(value) if isinstance(value, bool) else decimal(value)


def _boolean(value: Any) -> bool:
    return bool(value) if isinstance(value, int | float) else truth(value)


def _text(value: Any) -> str:
    if isinstance(value, dict | list) or value is None:
        raise TypeError(f"{type(value).__name__} is no text")
    return str(value)


_CONVERT: dict[str, Callable[[Any], Any]] = {
    "INT": _integer,
    "FLOAT": _number,
    "STRING": _text,
    "BOOLEAN": _boolean,
    "COMBO": _text,
}
