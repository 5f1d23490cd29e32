"""JSON from outside: read in any Unicode encoding, bounded before and after it is decoded."""

import json
from collections.abc import Iterable
from typing import Any

import msgspec

from gateway.errors import InvalidRequest

MAX_VALUES = 100_000
"""Some ten times what the largest workflow graph that is taken has."""

MAX_DEPTH = 64
WHOLE_NUMBERS = range(-(2**63), 2**64)
"""The whole numbers that JSON can be written with here; wider ones are read as decimals."""


def decode_json(body: bytes) -> Any:
    """Decode a JSON document, with or without a byte order mark.

    What it returns can be encoded again, copied, compared and kept in any database.

    Raises:
        InvalidRequest: it is not JSON, or is nested too deeply, has too many values, a number
            without end or a text with a NUL character.
    """
    try:
        if num_values(body) > MAX_VALUES:
            raise ValueError(f"it has over {MAX_VALUES} values")
        document = [msgspec.json.decode(body.decode(json.detect_encoding(body)))]
        _tidy(document)
    except (msgspec.DecodeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidRequest(
            f"We could not parse the JSON body of your request: {error}.", code="invalid_json"
        ) from None
    return document[0]


def num_values(text: bytes) -> int:
    """At least the values in JSON text, each of which may take a hundred times its bytes."""
    return sum(map(text.count, (b",", b"[", b"{")))


def _tidy(document: list[Any]) -> None:
    """Walk a document level by level, without recursion."""
    level: list[Any] = [document]
    for _ in range(MAX_DEPTH + 1):
        deeper: list[Any] = []
        for container in level:
            if isinstance(container, dict):
                check_text("".join(container))
            for key, value in _entries(container):
                if isinstance(value, dict | list):
                    deeper.append(value)
                elif isinstance(value, str):
                    check_text(value)
                elif isinstance(value, int) and value not in WHOLE_NUMBERS:
                    container[key] = float(value)
        if not deeper:
            return
        level = deeper
    raise ValueError(f"it is nested more than {MAX_DEPTH} deep")


def _entries(container: Any) -> Iterable[tuple[Any, Any]]:
    return list(container.items()) if isinstance(container, dict) else enumerate(container)


def check_text(text: str) -> None:
    """Refuse what is no text.

    Raises:
        ValueError: it has a NUL character, which databases and file names cannot hold.
    """
    if "\0" in text:
        raise ValueError("it has a text with a NUL character")
