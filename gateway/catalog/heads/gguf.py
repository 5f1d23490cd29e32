"""The heads of GGUF files: the names, types and places of what they hold.

The `gguf` package maps whole files, and need not be installed for a look.
"""

import math
import struct
from pathlib import Path
from typing import BinaryIO, NamedTuple

from gateway.catalog.cards import CardError
from gateway.catalog.heads.headers import check_finished, check_regular, check_start

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MOST = 2**20
"""Entries, dimensions and characters that no file has more of."""

BLOCKS = {
    0: (1, 4), 1: (1, 2), 30: (1, 2),  # float32, float16, bfloat16
    2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 20: (32, 18),
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 23: (256, 136),
}  # fmt: skip
"""How many numbers are packed into how many bytes, by the types that are read."""

PLAIN = (0, 1)
"""Types whose numbers nothing is to be unpacked of."""

_SCALARS = dict(enumerate("BbHhIif?")) | {10: "Q", 11: "q", 12: "d"}
_TEXT, _LIST = 8, 9
ALIGNMENT = "general.alignment"
_SHAPE = "comfy.gguf.orig_shape."
"""How facts begin that tell the shape of a weight which was written as rows of blocks."""

MALFORMED = (struct.error, ValueError, TypeError, LookupError, ArithmeticError, RecursionError)


class Packed(NamedTuple):
    """One weight: `kind` is its type's number, `start` where its bytes begin in the file."""

    shape: tuple[int, ...]
    kind: int
    start: int

    @property
    def stays(self) -> bool:
        """Whether it is kept packed: a matrix, of whose rows each is whole blocks."""
        block, _ = BLOCKS.get(self.kind, (1, 0))
        return self.kind not in PLAIN and len(self.shape) == 2 and self.shape[-1] % block == 0

    @property
    def size_bytes(self) -> int:
        """What it takes of the file; 0 of a type that is not read."""
        block, block_bytes = BLOCKS.get(self.kind, (1, 0))
        return math.prod(self.shape) // block * block_bytes


def read_gguf(path: Path) -> dict[str, Packed]:
    """What a GGUF file holds, by name.

    Raises:
        CardError: it is no whole GGUF file.
    """
    try:
        check_regular(path)
        with path.open("rb") as file:
            start = file.read(64)
            if not start.startswith(MAGIC):
                check_start(path, start, "GGUF")
            file.seek(0)
            found = _read(file)
    except OSError as error:
        raise CardError(f"cannot be read: {error.strerror}", path) from None
    except MALFORMED as error:
        raise CardError(f"not a whole GGUF file: {error}", path) from None
    size, ends = path.stat().st_size, [each.start + each.size_bytes for each in found.values()]
    if ends and size < max(ends):
        raise CardError(f"not a whole GGUF file: only {size:,} bytes are there", path)
    check_finished(path)
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
    return {
        name: Packed(_shape(shape, facts.get(_SHAPE + name)), kind, start + offset)
        for name, shape, kind, offset in heads
    }


def _shape(written: tuple[int, ...], told: object) -> tuple[int, ...]:
    """The shape that a weight has, where a fact tells another than is written."""
    if told is None:
        return written
    shape = tuple(told) if isinstance(told, list) else ()
    is_shape = all(isinstance(edge, int) and edge > 0 for edge in shape)
    if not is_shape or math.prod(shape) != math.prod(written):
        raise ValueError(f"{_SHAPE}: {told}, and {written} is written")
    return shape


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
