"""The one rule by which values are spelled, in JSON, forms, queries and headers alike.

An empty value is an absent one, and so are the words that clients write for nothing. Numbers
and truth values may come as text, choices in any case, all of them with spaces around. What
is spelled otherwise is left as it is, for the conversion to refuse by name.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Annotated, Any, TypeGuard

import msgspec
from msgspec import Meta, inspect

Words = Annotated[str, Meta(extra={"words": True})]
"""Text that people write, taken as it stands: only null is none."""

ABSENT = frozenset({"", "null", "undefined"})
PYTHONS = "None"
"""As Python writes it into forms; small, it may be somebody's id."""
LONGEST_WORD = 256
"""With the spaces around it. What is longer may be a picture, and is not to be copied."""

TRUTHS = {"true": True, "1": True, "yes": True, "on": True}
TRUTHS |= {"false": False, "0": False, "no": False, "off": False}
# Not `int()` and `float()` of any text: they take digits of every script, `1_000` and `nan`.
_WHOLE = re.compile(r"[+-]?[0-9]{1,20}(\.0*)?")
_DECIMAL = re.compile(r"[+-]?([0-9]{1,400}(\.[0-9]{0,400})?|\.[0-9]{1,400})([eE][+-]?[0-9]{1,3})?")


def is_word(value: Any) -> TypeGuard[str]:
    """Whether a value may be one of the words that are known here."""
    return isinstance(value, str) and len(value) <= LONGEST_WORD


def is_absent(value: Any) -> bool:
    """Whether a value means that there is none."""
    if not is_word(value):
        return value is None
    text = value.strip()
    return text == PYTHONS or text.lower() in ABSENT


def whole(value: Any) -> int:
    """A whole number.

    Raises:
        ValueError: it is none, however it is spelled.
    """
    if isinstance(value, str) and _WHOLE.fullmatch(value.strip()):
        value = int(value.strip().partition(".")[0])
    elif isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{_shown(value)} is not a whole number")
    return value


def decimal(value: Any) -> float:
    """A finite number.

    Raises:
        ValueError: it is none, however it is spelled.
    """
    if isinstance(value, str) and _DECIMAL.fullmatch(value.strip()):
        value = float(value)
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"{_shown(value)} is not a finite number")
    return float(value)


def truth(value: Any) -> bool:
    """A truth value.

    Raises:
        ValueError: it is none, however it is spelled.
    """
    if isinstance(value, int | float) and value in (0, 1):
        return bool(value)
    if is_word(value) and (word := value.strip().lower()) in TRUTHS:
        return TRUTHS[word]
    raise ValueError(f"{_shown(value)} is not a truth value")


def chosen(text: str, choices: Iterable[Any]) -> Any:
    """The choice that a text means, in whatever case; the text itself where it means none."""
    folded = text.strip().lower() if is_word(text) else text
    return next((one for one in choices if str(one).lower() == folded), text)


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return repr(value[:80])
    return str(value) if isinstance(value, int | float) else type(value).__name__


def spelled(value: Any, kind: Any) -> Any:
    """A value of decoded JSON, or of a form, as its type is written properly."""
    return _spelled(value, _told(kind))


@lru_cache
def _told(kind: Any) -> inspect.Type:
    """What msgspec knows of a type: 0.2 ms of a request's body, found once."""
    return inspect.type_info(kind)


def spelled_field(struct: type[msgspec.Struct], name: str, value: Any) -> Any:
    """A value as a field of a Struct is written properly."""
    field = next(field for field in _fields(struct) if field.name == name)
    return _spelled(value, field.type)


@lru_cache
def _fields(struct: type[msgspec.Struct]) -> tuple[inspect.Field, ...]:
    info = _told(struct)
    assert isinstance(info, inspect.StructType)
    return info.fields


def _spelled(value: Any, kind: inspect.Type) -> Any:
    found = value
    match kind:
        case inspect.Metadata() if not _is_words(kind):
            found = _spelled(value, kind.type)
        case inspect.UnionType(types=types):
            real = [one for one in types if not isinstance(one, inspect.NoneType)]
            found = _spelled(value, real[0]) if len(real) == 1 else value
        case inspect.StructType(fields=fields) if isinstance(value, dict):
            found = _struct(value, fields)
        case inspect.ListType() | inspect.VarTupleType() if isinstance(value, list | tuple):
            found = [_spelled(each, kind.item_type) for each in value]
        case inspect.LiteralType(values=choices) if is_word(value):
            found = chosen(value, choices)
        case inspect.StrType() if isinstance(value, str):
            found = value.strip()
        case inspect.IntType() | inspect.FloatType() | inspect.BoolType():
            with suppress(ValueError):
                found = _SCALARS[type(kind)](value)
    return found


_SCALARS: dict[type[inspect.Type], Callable[[Any], Any]] = {
    inspect.IntType: whole,
    inspect.FloatType: decimal,
    inspect.BoolType: truth,
}


def _struct(value: Mapping[str, Any], fields: tuple[inspect.Field, ...]) -> dict[str, Any]:
    kinds = {field.encode_name: field.type for field in fields}
    return {
        name: _spelled(given, kinds[name]) if name in kinds else given
        for name, given in value.items()
        if not (given is None if _is_words(kinds.get(name)) else is_absent(given))
    }


def _is_words(kind: inspect.Type | None) -> bool:
    if isinstance(kind, inspect.UnionType):
        return any(map(_is_words, kind.types))
    return isinstance(kind, inspect.Metadata) and bool((kind.extra or {}).get("words"))
