"""From decoded JSON to Structs, with msgspec's refusals in the words of the error family."""

import re
from typing import Any, TypeVar

import msgspec

from gateway.errors import GatewayError, InvalidRequest, InvalidType, MissingParameter, OutOfRange
from gateway.outside.spelling import spelled

T = TypeVar("T")

_MISSING = re.compile(r"Object missing required field `(?P<name>[^`]+)`")
_TYPE = re.compile(r"Expected `(?P<wanted>[^`]+)`, got `(?P<got>[^`]+)`")
_NUMBER = re.compile(r"Expected `(?P<kind>int|float)` (?P<relation>[<>]=?) (?P<bound>[-\d.e+]+)")
_LENGTH = re.compile(r"Expected `(?P<kind>str|array)` of length (?P<relation>[<>]=) (?P<bound>\d+)")
_PATH = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")
_KINDS = {"int": "integer", "float": "decimal", "str": "string", "array": "array"}
_NAMES = {"int": "an integer", "float": "a decimal", "str": "a string", "bool": "a boolean"}


def convert(data: Any, kind: type[T]) -> T:
    """Convert decoded JSON, or a form's texts, to a Struct, however its values are spelled.

    Raises:
        InvalidRequest: one of its family, with the path of the field as `param`.
    """
    given = spelled(data, kind)
    try:
        return msgspec.convert(given, kind)
    except msgspec.ValidationError as error:
        raise refusal(str(error), given) from None


def refusal(message: str, data: Any) -> GatewayError:
    """The error of the family that says what a msgspec message says about `data`."""
    at = _PATH.search(message)
    path = at["path"] if at else ""
    message = message[: at.start()] if at else message
    if missing := _MISSING.fullmatch(message):
        return MissingParameter(f"{path}.{missing['name']}".lstrip("."))
    value = value_at(data, path)
    if bounded := _NUMBER.fullmatch(message):
        above = bounded["relation"].startswith("<")
        kind = _KINDS[bounded["kind"]]
        return OutOfRange(path, kind, float(bounded["bound"]), float(value), above=above)
    if sized := _LENGTH.fullmatch(message):
        above = sized["relation"].startswith("<")
        return OutOfRange(path, _KINDS[sized["kind"]], int(sized["bound"]), len(value), above=above)
    if typed := _TYPE.fullmatch(message):
        wanted, got = (_named(typed[group]) for group in ("wanted", "got"))
        return InvalidType(path or "body", wanted, got)
    shown = f"Invalid value for '{path}': {message}." if path else f"{message}."
    return InvalidRequest(shown, param=path or None)


def value_at(data: Any, path: str) -> Any:
    """What stands at a path such as `loras[0].scale`, or None."""
    for part in re.findall(r"[^.\[\]]+", path):
        if isinstance(data, dict):
            data = data.get(part)
        elif isinstance(data, list) and part.isdigit():
            data = data[int(part)]
        else:
            return None
    return data


def _named(kinds: str) -> str:
    names = [kind.strip() for kind in kinds.split("|") if kind.strip() != "null"]
    return (
        " or ".join(
            _NAMES.get(name, f"an {name}" if name[0] in "aeio" else f"a {name}") for name in names
        )
        or "null"
    )
