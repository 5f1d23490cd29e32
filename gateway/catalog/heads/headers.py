"""The heads of safetensors files: what a file holds, told without reading its weights."""

import re
import stat
from os.path import exists
from pathlib import Path
from typing import Any

import msgspec

from gateway.catalog.cards import CardError
from gateway.catalog.heads.kinds import bundled_words, kinds_in, tuned_in, unread_in
from gateway.catalog.heads.stamps import Stamp, stamp_of
from gateway.catalog.heads.training import made_for, tidy, trigger_words

LENGTH_BYTES = 8
MAX_HEADER_BYTES = 100_000_000
"""safetensors' own bound."""

UNFINISHED = (".incomplete", ".part", ".partial", ".crdownload", ".aria2", ".download", ".tmp")
"""Endings that programs give to what they have not downloaded to its end, or leave beside it."""

CAST = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")
"""Dtypes of tensors that a card's dtype replaces."""

_DISGUISES = {
    rb"version https://git-lfs": "a Git LFS pointer and not the file itself (git lfs pull)",
    rb"\s*<(!doctype|html|\?xml)": "a web page that was saved under this name",
    rb"PK\x03\x04|\x80[\x02-\x05]": "a pickle under another name; pickled weights are refused",
    rb"GGUF": "a GGUF file under another name",
    rb"\x00{8}": "not downloaded to its end: it begins with zeros",
}
_DOWN = re.compile(r"lora.*[._](A|down)\b", re.IGNORECASE)
"""The matrix of a LoRA's layer whose second dimension is as wide as what comes in."""

_OF_TEXT_ENCODERS = re.compile(r"(lora_)?te\d?[._]|.*(text_encoder|text_model|_te\d?_|prompt_enc)")


Shapes = dict[str, tuple[int, ...]]
"""The shapes of a file's weights by name."""


class Header(msgspec.Struct, frozen=True):
    """What a file's head says.

    `widths` are those that its layers take, `lora_widths` those of the denoiser's layers that
    a LoRA changes. `kinds` are those of an adapter (`LoRA`, `LoKr`), `tuned` one that PEFT's
    configuration is wanted for, `unread` what is no adapter that is read here; `made_for` is the
    architecture that whoever trained it wrote down, and `trigger_words` are the words that ask for
    what it learned; `bundled_words` are those whose embeddings lie in it.
    """

    widths: frozenset[int]
    lora_widths: frozenset[int]
    kinds: tuple[str, ...]
    tuned: str | None
    unread: str | None
    made_for: str | None
    trigger_words: tuple[str, ...] = ()
    bundled_words: tuple[str, ...] = ()


class Tensor(msgspec.Struct):
    """What a head says of one weight."""

    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]

    @property
    def size_bytes(self) -> int:
        """What it takes of the file."""
        return self.data_offsets[1] - self.data_offsets[0]


Tensors = dict[str, Tensor]
"""What a head says of a file's weights, by name."""

_Head = tuple[Tensors, dict[str, Any]]
_known: dict[Path, tuple[Stamp, Header]] = {}


def read_header(path: Path) -> Header:
    """A file's head, read once while its stamp stays the same.

    Raises:
        CardError: it is no whole safetensors file that can be read, and what it is instead.
    """
    stamp = stamp_of(path)
    known, header = _known.get(path, (None, None))
    if header is None or known != stamp:
        header = _of_tensors(*_read(path))
        if stamp is not None:
            _known[path] = stamp, header
    check_finished(path)
    return header


def check_finished(path: Path) -> None:
    """See that nothing beside a file says that more of it is to come.

    Raises:
        CardError: something does.
    """
    if left := next((end for end in UNFINISHED if exists(f"{path}{end}")), None):
        raise CardError(f"not downloaded to its end: there is {path.name}{left}", path)


def check_start(path: Path, start: bytes, format: str) -> None:
    """See that a file does not begin as what people mistake for one of weights.

    Raises:
        CardError: it does, or has nothing in it.
    """
    if not start:
        raise CardError("is empty", path)
    for mark, disguise in _DISGUISES.items():
        if re.match(mark, start, re.IGNORECASE):
            raise CardError(f"not a {format} file: {disguise}", path)


def check_regular(path: Path) -> None:
    """See that a path is a file's: a pipe would be waited for.

    Raises:
        CardError: it is not.
        OSError: nothing can be told of it.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise CardError("is no file", path)


def read_shapes(path: Path) -> Shapes:
    """The shapes of a file's weights.

    Raises:
        CardError: it is no whole safetensors file that can be read, and what it is instead.
    """
    return {name: tensor.shape for name, tensor in read_tensors(path).items()}


def read_tensors(path: Path) -> Tensors:
    """All that a file's head says of its weights.

    Raises:
        CardError: it is no whole safetensors file that can be read, and what it is instead.
    """
    return _read(path)[0]


def read_facts(path: Path) -> dict[str, Any]:
    """What whoever made a file wrote into its head.

    Raises:
        CardError: it is no whole safetensors file that can be read, and what it is instead.
    """
    return _read(path)[1]


def _read(path: Path) -> _Head:
    try:
        check_regular(path)
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(64)
            length = int.from_bytes(start[:LENGTH_BYTES], "little")
            file.seek(LENGTH_BYTES)
            text = file.read(length) if length <= min(size, MAX_HEADER_BYTES) else b""
    except FileNotFoundError:
        is_link = path.is_symlink()
        raise CardError("its link leads nowhere" if is_link else "is not there", path) from None
    except OSError as error:
        raise CardError(f"cannot be read: {error.strerror}", path) from None
    if not text.startswith(b"{"):  # of 640 bytes, say, a head's length begins as a pickle does
        check_start(path, start, "safetensors")
    return _head(path, size, length, text)


def tensors_in(path: Path, size: int, text: bytes) -> Tensors:
    """What a head says of the weights of a file of some size, wherever that lies.

    Raises:
        CardError: no file of such a size begins so.
    """
    return _head(path, size, len(text), text)[0]


def _head(path: Path, size: int, length: int, text: bytes) -> _Head:
    if len(text) < length <= MAX_HEADER_BYTES and size >= LENGTH_BYTES:
        raise _cut_short(path, size, LENGTH_BYTES + length)
    try:
        entries = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
        facts = msgspec.json.decode(entries.pop("__metadata__", b"{}"), type=dict[str, Any] | None)
        tensors = {name: msgspec.json.decode(raw, type=Tensor) for name, raw in entries.items()}
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise CardError("not a safetensors file: its head cannot be read", path) from None
    ends = (tensor.data_offsets[1] for tensor in tensors.values())
    whole = LENGTH_BYTES + length + max(ends, default=0)
    if size < whole:
        raise _cut_short(path, size, whole)
    if size > whole:
        raise CardError(f"not a safetensors file: {size - whole:,} bytes follow its end", path)
    return tensors, facts or {}


def _of_tensors(tensors: Tensors, facts: dict[str, Any]) -> Header:
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    widths = {name: shape[1] for name, shape in shapes.items() if len(shape) > 1}
    tuned = tuned_in(shapes.keys())
    downs = {
        width
        for name, width in widths.items()
        if not tuned and _DOWN.search(name) and not _OF_TEXT_ENCODERS.match(name)
    }
    bundled = bundled_words(shapes.keys())
    return Header(
        widths=frozenset(widths.values()),
        lora_widths=frozenset(downs),
        kinds=kinds_in(shapes.keys()),
        tuned=tuned,
        unread=unread_in(shapes.keys()),
        made_for=made_for(facts),
        trigger_words=tidy((*bundled, *trigger_words(facts))),
        bundled_words=bundled,
    )


def _cut_short(path: Path, size: int, whole: int) -> CardError:
    return CardError(
        f"not a whole safetensors file: {size:,} of its {whole:,} bytes are there", path
    )
