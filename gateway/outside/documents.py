"""JSON from outside: read in any Unicode encoding, bounded before and after it is decoded."""

import codecs
import json
import math
import sys
from collections.abc import Iterable
from typing import Any

import msgspec

from gateway.errors import InvalidRequest, TooLarge

MIB = 2**20
MAX_JSON_BYTES = 16 * MIB
"""Decoded at once, while nobody else is answered: in two hundredths of a second if it is text."""

MAX_SMALL_BYTES = 2 * MIB
"""Apart from what is `LONG_BYTES` of plain ASCII without a comma, as pictures are: numbers cost
most, and text of other signs, or of escapes, more than plain text."""

LONG_BYTES = 16_384
MAX_VALUES = 50_000
"""Some five times what the largest workflow graph that is taken has."""

MAX_DEPTH = 64
WHOLE_NUMBERS = range(-(2**63), 2**64)
"""The whole numbers that JSON can be written with here; wider ones are read as decimals."""

# A whole number takes time by the square of its digits.
sys.set_int_max_str_digits(sys.int_info.str_digits_check_threshold)


def decode_json(body: bytes) -> Any:
    """Decode a JSON document, with or without a byte order mark.

    What it returns can be encoded again, copied, compared and kept in any database.

    Raises:
        TooLarge: it has more bytes than are decoded at once.
        InvalidRequest: it is not JSON, or is nested too deeply, has too many values, a number
            without end or a text with a NUL character.
    """
    check_size(len(body))
    try:
        if means_too_much(body):
            raise ValueError(
                f"it has over {MAX_VALUES} values, or {MAX_SMALL_BYTES // MIB} MiB of short ones"
            )
        document = [_decoder.decode(_readable(body))]
        _tidy(document)
    except (msgspec.DecodeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidRequest(
            f"We could not parse the JSON body of your request: {error}.", code="invalid_json"
        ) from None
    return document[0]


def _readable(body: bytes) -> bytes | memoryview | str:
    """JSON as the decoder takes it; bytes of UTF-8 it reads eight times as fast as their text."""
    encoding = json.detect_encoding(body)
    if encoding == "utf-8":
        return body
    if encoding == "utf-8-sig":
        return memoryview(body)[len(codecs.BOM_UTF8) :]
    return body.decode(encoding)


def check_size(size_bytes: int) -> None:
    """Refuse a document of too many bytes.

    Raises:
        TooLarge: saying how larger pictures are sent.
    """
    if size_bytes > MAX_JSON_BYTES:
        raise TooLarge(
            f"JSON may have up to {MAX_JSON_BYTES // MIB} MiB. Send larger pictures as "
            "multipart/form-data, upload them first, or name them by their URL."
        )


def means_too_much(text: bytes) -> bool:
    """Whether JSON text, not yet decoded, has more values than any request needs."""
    if num_values(text) > MAX_VALUES:
        return True
    if len(text) <= MAX_SMALL_BYTES:
        return False
    return sum(len(part) for part in text.split(b",") if not _is_plain(part)) > MAX_SMALL_BYTES


def _is_plain(part: bytes) -> bool:
    """Whether this costs next to nothing: escapes are as few as slashes and ends of lines."""
    return len(part) >= LONG_BYTES and part.isascii() and part.count(b"\\") * 16 < len(part)


def num_values(text: bytes) -> int:
    """At least the values in JSON text, each of which may take a hundred times its bytes."""
    return sum(map(text.count, (b",", b"[", b"{")))


def finite(text: str) -> float:
    """A decimal. msgspec's own way takes 9 µs for one of a large exponent: seconds a MB.

    Raises:
        ValueError: it is beyond all numbers.
    """
    value = float(text)
    if math.isinf(value):
        raise ValueError("Number out of range")
    return value


_decoder = msgspec.json.Decoder(float_hook=finite)


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
