"""The head of a GGUF file, whatever is in it: read, or told."""

import random
import struct
from contextlib import suppress
from pathlib import Path

import pytest
from diffusers.quantizers.gguf.utils import SUPPORTED_GGUF_QUANT_TYPES
from gguf import GGML_QUANT_SIZES

from gateway.catalog.cards import CardError
from gateway.catalog.folders import load_catalog
from gateway.catalog.heads.gguf import BLOCKS, read_gguf
from tests.catalog.making import hollow_gguf, write


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def gguf(*facts: bytes) -> bytes:
    """A file of one weight of two rows, in float32, and of some facts."""
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, len(facts)) + b"".join(facts)
    head += text("a.weight") + struct.pack("<IQQIQ", 2, 4, 2, 0, 0)
    return head + bytes(-len(head) % 32) + bytes(32)


NUMBER = text("n") + struct.pack("<II", 4, 7)
NAMES = text("l") + struct.pack("<IIQ", 9, 8, 2) + text("x") + text("y")
NESTED = text("d") + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 5000
STRANGE = text("s") + struct.pack("<I", 99)


def test_names_shapes_and_places_are_read(tmp_path: Path) -> None:
    found = read_gguf(write(tmp_path / "a.gguf", whole := gguf(NUMBER, NAMES)))
    assert found["a.weight"].shape == (2, 4)
    assert found["a.weight"].start == len(whole) - 32


@pytest.mark.parametrize("fact", [NESTED, STRANGE, b""])
def test_what_is_malformed_is_told_and_stops_no_other(tmp_path: Path, fact: bytes) -> None:
    write(tmp_path / "a.gguf", gguf(fact) if fact else b"GGUF")
    with pytest.raises(CardError, match="not a whole GGUF file"):
        read_gguf(tmp_path / "a.gguf")
    assert list(load_catalog((tmp_path,), ()).endpoints) == ["a"]


def shape_of(name: str, *edges: int) -> bytes:
    fact = text(f"comfy.gguf.orig_shape.{name}") + struct.pack("<IIQ", 9, 5, len(edges))
    return fact + struct.pack(f"<{len(edges)}i", *edges)


def test_a_shape_that_is_told_beside_is_the_weights(tmp_path: Path) -> None:
    found = read_gguf(write(tmp_path / "a.gguf", gguf(shape_of("a.weight", 2, 1, 2, 2))))
    assert found["a.weight"].shape == (2, 1, 2, 2)


@pytest.mark.parametrize("edges", [(), (7,), (-2, -4), (2, 2)])
def test_a_shape_that_cannot_be_is_told(tmp_path: Path, edges: tuple[int, ...]) -> None:
    write(tmp_path / "a.gguf", gguf(shape_of("a.weight", *edges)))
    with pytest.raises(CardError, match=r"not a whole GGUF file: .*orig_shape"):
        read_gguf(tmp_path / "a.gguf")


def test_types_are_as_large_as_the_format_says() -> None:
    assert {kind: GGML_QUANT_SIZES[kind] for kind in BLOCKS} == BLOCKS
    assert BLOCKS.keys() >= set(SUPPORTED_GGUF_QUANT_TYPES)


@pytest.mark.parametrize("kind", [1, 12])
def test_a_file_that_is_cut_within_its_last_weight_is_told(tmp_path: Path, kind: int) -> None:
    file = hollow_gguf(tmp_path / "a.gguf", {"a": (2, 256), "b": (4, 256)}, kind=kind)
    assert list(read_gguf(file)) == ["a", "b"]
    with file.open("r+b") as opened:
        opened.truncate(file.stat().st_size - 33)
    with pytest.raises(CardError, match=r"not a whole GGUF file: only [\d,]+ bytes are there"):
        read_gguf(file)


def test_no_byte_that_is_changed_raises_anything_else(tmp_path: Path) -> None:
    whole, chance = gguf(NUMBER, NAMES), random.Random(0)
    for _ in range(300):
        changed = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        file = write(tmp_path / "a.gguf", bytes(changed[: chance.randint(1, len(changed))]))
        with suppress(CardError):
            read_gguf(file)
