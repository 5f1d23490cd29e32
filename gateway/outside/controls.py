"""ControlNets asked for: `control_images`, `controlnet_weights` and `controlnets`, as lists."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from gateway.errors import InvalidRequest, InvalidType, OutOfRange, UnsupportedValue, shortened
from gateway.outside.documents import decode_json
from gateway.outside.parameters import CONTROL_FIELDS
from gateway.outside.spelling import decimal, is_absent

MAX_CONTROLS = 8
MAX_WEIGHT = 2.0
MAX_MODE = 31
"""More kinds of pictures than any net reads."""

ELSEWHERE = ("ip_adapter", "ipadapter", "ip-adapter")
"""How fields begin by which others ask for a picture beside the prompt."""

_FIELD_CHARACTERS = 40


class ControlAsked(msgspec.Struct, frozen=True):
    """A picture as a request names it, and the ControlNet that is shown it; None: the only one.

    `param` is where the net's name stands, or would; `mode` the kind of the picture, by number.
    """

    entry: Any
    name: str | None
    param: str
    scale: float
    start: float
    end: float
    mode: int | None


def read_controls(given: Mapping[str, Any]) -> tuple[ControlAsked, ...]:
    """What a request's fields say.

    An entry of `control_images` is a picture in any form, or an object with `image` and what
    belongs to it: `controlnet`, `weight`, `start`, `end`, `mode`.

    Raises:
        InvalidRequest: the lists do not line up, or a value is none or out of range.
        UnsupportedValue: an IP-Adapter is asked for by a field of its own.
    """
    for field, value in given.items():
        if field.lower().startswith(ELSEWHERE) and value and not is_absent(value):
            raise _refused(shortened(field, _FIELD_CHARACTERS))
    entries, weights, names = (_listed(given, field) for field in CONTROL_FIELDS)
    if not entries and (weights or names):
        raise InvalidRequest("There are no pictures for ControlNets.", param="control_images")
    if len(entries) > MAX_CONTROLS:
        raise OutOfRange("control_images", "array", MAX_CONTROLS, len(entries), above=True)
    for field, others in (("controlnet_weights", weights), ("controlnets", names)):
        if others and len(others) != len(entries):
            told = f"'{field}' has {len(others)} entries, and 'control_images' {len(entries)}."
            raise InvalidRequest(told, param=field)
    return tuple(_asked(entry, place, weights, names) for place, entry in enumerate(entries))


def _refused(field: str) -> UnsupportedValue:
    told = (
        f"'{field}' is not read: an IP-Adapter is asked for as a ControlNet is, by "
        '\'control_images\': [{"image": …, "controlnet": its name, "weight": …}].'
    )
    return UnsupportedValue(told, param=field)


def _asked(
    entry: Any, place: int, weights: Sequence[Any], names: Sequence[Any]
) -> ControlAsked:
    own = entry if isinstance(entry, dict) else {}
    where = f"control_images[{place}]"
    inside = "controlnet" in own
    param = f"{where}.controlnet" if inside else f"controlnets[{place}]"
    name = own.get("controlnet", names[place] if names else None)
    if not is_absent(name) and not isinstance(name, str):
        raise InvalidType(param, "a string", type(name).__name__)
    weight, told = own.get("weight"), f"{where}.weight"
    if is_absent(weight) and weights:
        weight, told = weights[place], f"controlnet_weights[{place}]"
    return ControlAsked(
        entry=entry,
        name=None if is_absent(name) else name,
        param=param,
        scale=_number(weight, told, 1.0, MAX_WEIGHT),
        start=_number(own.get("start"), f"{where}.start", 0.0, 1.0),
        end=_number(own.get("end"), f"{where}.end", 1.0, 1.0),
        mode=_mode(own.get("mode"), f"{where}.mode"),
    )


def _mode(value: Any, param: str) -> int | None:
    number = _number(value, param, 0.0, MAX_MODE)
    if number != int(number):
        raise InvalidType(param, "an integer", "number")
    return None if is_absent(value) else int(number)


def _listed(given: Mapping[str, Any], field: str) -> Sequence[Any]:
    value = given.get(field)
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = decode_json(value.encode())  # as forms have lists
    if is_absent(value):
        return ()
    return value if isinstance(value, list) else [value]


def _number(value: Any, param: str, otherwise: float, highest: float) -> float:
    if is_absent(value):
        return otherwise
    try:
        number = decimal(value)
    except ValueError:
        raise InvalidType(param, "a number", type(value).__name__) from None
    if not 0 <= number <= highest:
        bound = highest if number > highest else 0
        raise OutOfRange(param, "decimal", bound, number, above=number > highest)
    return number
