"""JSON from outside: read in any Unicode encoding, bounded before and after it is decoded."""

import codecs
import json
import math
import sys
from typing import Any

import msgspec

from gateway.errors import InvalidRequest, TooLarge

MIB = 2**20
MAX_JSON_BYTES = 16 * MIB
"""Decoded at once, while nobody else is answered: in two hundredths of a second if it is text."""

MAX_SMALL_BYTES = 2 * MIB
"""Apart from what is `LONG_BYTES` of plain ASCII without a comma, as pictures are: numbers cost
most, and text of other signs, or of escapes, more than plain text."""

LARGE_BYTES = 2**16
LONG_BYTES = 16_384
MAX_VALUES = 50_000
"""Some five times what the largest workflow graph that is taken has."""

MAX_DEPTH = 64
CONTAINERS = frozenset({dict, list})
WHOLE_NUMBERS = range(-(2**63), 2**64)
"""The whole numbers that JSON can be written with here; wider ones are read as decimals."""

# A whole number takes time by the square of its digits.
sys.set_int_max_str_digits(sys.int_info.str_digits_check_threshold)


def decode_json(body: bytes) -> Any:
    """Decode a JSON document, with or without a byte order mark.

    Raises:
        TooLarge, InvalidRequest: as for `Reading`.
    """
    reading = Reading()
    reading.add(body)
    return reading.document()


class Reading:
    """A JSON document as it comes, which is refused as soon as it would cost too much to decode."""

    def __init__(self) -> None:
        self._text = bytearray()
        self._burden = Burden()

    def add(self, piece: bytes) -> None:
        """The next bytes of it.

        Raises:
            TooLarge: it has more of them than are decoded at once.
            InvalidRequest: it has too many values.
        """
        check_size(len(self._text) + len(piece))
        self._text += piece
        self._burden.add(piece)
        if self._burden.is_too_much:
            most = f"{MAX_VALUES} values, or {MAX_SMALL_BYTES // MIB} MiB of short ones"
            raise _not_json(f"it has over {most}")

    @property
    def is_blank(self) -> bool:
        """Whether there is nothing in it."""
        return not self._text or self._text.isspace()

    @property
    def is_large(self) -> bool:
        """Whether it takes a while to decode."""
        return len(self._text) >= LARGE_BYTES

    def document(self) -> Any:
        """What it says. It can be encoded again, copied, compared and kept in any database.

        Raises:
            InvalidRequest: it is not JSON, or is nested too deeply, or has a number without end
                or a text with a NUL character.
        """
        try:
            document = [_decoder.decode(_readable(self._text))]
            _tidy(document, has_escapes=self._burden.has_escapes)
        except (msgspec.DecodeError, ValueError, OverflowError, RecursionError) as error:
            raise _not_json(str(error)) from None
        return document[0]


class Burden:
    """What it would cost to decode a document, told by its bytes as they come."""

    def __init__(self) -> None:
        self.has_escapes = False
        self._num_values = 0
        self._num_small = 0
        self._last = Part()

    @property
    def is_too_much(self) -> bool:
        """Whether there are more values, or more bytes of costly ones, than any request needs."""
        return (
            self._num_values > MAX_VALUES
            or self._num_small + self._last.costly_bytes > MAX_SMALL_BYTES
        )

    def add(self, piece: bytes) -> None:
        """Count what stands between commas: each part may be a value, and a long one a picture."""
        self._num_values += num_values(piece)
        if self._num_values > MAX_VALUES:
            return
        self.has_escapes = self.has_escapes or b"\\" in piece
        begun, *others = piece.split(b",")
        self._last.extend(begun)
        if not others:
            return
        *whole, last = others
        long = [part for part in whole if len(part) >= LONG_BYTES]
        self._num_small += self._last.costly_bytes + sum(map(len, whole))
        self._num_small -= sum(len(part) - Part(part).costly_bytes for part in long)
        self._last = Part(last)


class Part:
    """What stands between two commas of a document."""

    def __init__(self, begun: bytes = b"") -> None:
        self._num_bytes, self._num_escapes, self._is_ascii = 0, 0, True
        self.extend(begun)

    def extend(self, more: bytes) -> None:
        """Add what comes next of it."""
        self._num_bytes += len(more)
        self._num_escapes += more.count(b"\\")
        self._is_ascii = self._is_ascii and more.isascii()

    @property
    def costly_bytes(self) -> int:
        """All of it, or none where it is long and plain, with escapes for ends of lines at most."""
        is_long = self._num_bytes >= LONG_BYTES
        is_plain = self._is_ascii and self._num_escapes * 16 < self._num_bytes
        return 0 if is_long and is_plain else self._num_bytes


def _not_json(why: str) -> InvalidRequest:
    return InvalidRequest(
        f"We could not parse the JSON body of your request: {why}.", code="invalid_json"
    )


def _readable(body: bytearray) -> bytearray | memoryview | str:
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
    """Whether JSON text, not yet decoded, would cost more than any request needs."""
    burden = Burden()
    burden.add(text)
    return burden.is_too_much


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


def _tidy(document: list[Any], *, has_escapes: bool) -> None:
    """Walk a document level by level, without recursion; a NUL in it is written as an escape."""
    level: list[Any] = [document]
    for _ in range(MAX_DEPTH + 1):
        deeper: list[Any] = []
        for container in level:
            values = list(container.values()) if isinstance(container, dict) else container
            kinds = set(map(type, values))
            if not kinds.isdisjoint(CONTAINERS):
                deeper += [value for value in values if type(value) in CONTAINERS]
            if int in kinds:
                _narrow(container)
            if has_escapes:
                for text in (*container, *values):
                    if isinstance(text, str):
                        check_text(text)
        if not deeper:
            return
        level = deeper
    raise ValueError(f"it is nested more than {MAX_DEPTH} deep")


def _narrow(container: Any) -> None:
    """Make decimals of the whole numbers that are too wide."""
    entries = list(container.items()) if isinstance(container, dict) else enumerate(container)
    for key, value in entries:
        if type(value) is int and value not in WHOLE_NUMBERS:
            container[key] = float(value)


def check_text(text: str) -> None:
    """Refuse what is no text.

    Raises:
        ValueError: it has a NUL character, which databases and file names cannot hold.
    """
    if "\0" in text:
        raise ValueError("it has a text with a NUL character")
