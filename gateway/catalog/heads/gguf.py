"""The heads of GGUF files: the names, types and places of what they hold.

The `gguf` package maps whole files, and need not be installed for a look.
"""

import math
import struct
from pathlib import Path
from typing import BinaryIO, NamedTuple

from gateway.catalog.cards import CardError

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MOST = 2**20
"""Entries, dimensions and characters that no file has more of."""

_SCALARS = dict(enumerate("BbHhIif?")) | {10: "Q", 11: "q", 12: "d"}
_TEXT, _LIST = 8, 9
ALIGNMENT = "general.alignment"
MALFORMED = (struct.error, ValueError, TypeError, LookupError, ArithmeticError, RecursionError)


class Packed(NamedTuple):
    """One weight: `kind` is its type's number, `start` where its bytes begin in the file."""

    shape: tuple[int, ...]
    kind: int
    start: int


def read_gguf(path: Path) -> dict[str, Packed]:
    """What a GGUF file holds, by name.

    Raises:
        CardError: it is no whole GGUF file.
    """
    try:
        with path.open("rb") as file:
            found = _read(file)
    except OSError as error:
        raise CardError(f"cannot be read: {error.strerror}", path) from None
    except MALFORMED as error:
        raise CardError(f"not a whole GGUF file: {error}", path) from None
    size, ends = path.stat().st_size, [each.start for each in found.values()]
    if ends and size <= max(ends):
        raise CardError(f"not a whole GGUF file: only {size:,} bytes are there", path)
    return found


def _read(file: BinaryIO) -> dict[str, Packed]:
    if file.read(len(MAGIC)) != MAGIC:
        raise ValueError("it does not begin as one")
    version = _scalar(file, "I")
    if version not in VERSIONS:
        raise ValueError(f"its version is {version}")
    num_weights, num_facts = _count(file), _count(file)
    facts = {_text(file): _value(file, _scalar(file, "I")) for _ in range(num_facts)}
    heads = [_head(file) for _ in range(num_weights)]
    alignment = int(facts.get(ALIGNMENT, 32))  # type: ignore[call-overload]
    if alignment <= 0:
        raise ValueError("its alignment is not positive")
    start = math.ceil(file.tell() / alignment) * alignment
    return {name: Packed(shape, kind, start + offset) for name, shape, kind, offset in heads}


def _head(file: BinaryIO) -> tuple[str, tuple[int, ...], int, int]:
    name = _text(file)
    shape = tuple(int(_scalar(file, "Q")) for _ in range(int(_scalar(file, "I")) & 0xFF))
    return name, shape[::-1], int(_scalar(file, "I")), int(_scalar(file, "Q"))


def _value(file: BinaryIO, kind: int | float) -> object:
    if kind == _TEXT:
        return _text(file)
    if kind == _LIST:
        inner = _scalar(file, "I")
        return [_value(file, inner) for _ in range(_count(file))]
    return _scalar(file, _SCALARS[int(kind)])


def _scalar(file: BinaryIO, form: str) -> int | float:
    (value,) = struct.unpack(f"<{form}", file.read(struct.calcsize(f"<{form}")))
    number: int | float = value
    return number


def _count(file: BinaryIO) -> int:
    count = int(_scalar(file, "Q"))
    if count > MOST:
        raise ValueError(f"it says that {count:,} things follow")
    return count


def _text(file: BinaryIO) -> str:
    return file.read(_count(file)).decode(errors="replace")
