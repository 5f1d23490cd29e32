"""Which files of a repository a pipeline is loaded from: all of them, and no weights twice."""

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

import msgspec

from gateway.catalog.cards import CardError
from gateway.catalog.heads.endings import PICKLES, WEIGHTS
from gateway.catalog.sources.parts import subfolder_of
from gateway.catalog.sources.weights import INDEXES

OF_WEIGHTS = (*PICKLES, WEIGHTS, ".gguf", ".sft", ".msgpack", ".h5", ".onnx", ".pb", ".xml")
"""Endings of weights, whatever program they are for; what else lies in a part is small."""

_NOT_LOADED = (".md", ".png", ".jpg", ".jpeg", ".webp", ".gif", ".onnx_data", ".py")
_STEMS = ("diffusion_pytorch_model", "model")
"""What diffusers and transformers call the weights of a part."""

_INDEX = ".index."
_SHARD = re.compile(r"-\d{5}-of-\d{5}")


class Listed(msgspec.Struct, frozen=True):
    """A file of a repository, as the hub tells of it; small ones have no SHA-256."""

    name: str
    size_bytes: int
    sha256: str | None = None


def of_pipeline(
    listed: Iterable[Listed],
    index: Mapping[str, Any],
    variant: str | None = None,
    without: Iterable[str] = (),
) -> list[Listed]:
    """The files of a whole pipeline, but for some parts.

    Raises:
        CardError: the weights of a part are pickled, and come in no other form.
    """
    files = list(listed)
    names = [name for name, given in index.items() if _is_part(name, given)]
    found = [file for file in files if file.name in INDEXES]
    for name in names:
        if name not in set(without):
            found += of_folder(files, subfolder_of(name, index[name]), variant)
    return found


def of_folder(listed: Iterable[Listed], folder: str, variant: str | None = None) -> list[Listed]:
    """The files of one part: configs, vocabularies, and its weights once.

    Raises:
        CardError: its weights are pickled, and come in no other form.
    """
    inner = [file for file in listed if str(PurePosixPath(file.name).parent) == folder]
    chosen = _once([file for file in inner if file.name.endswith(WEIGHTS)], variant)
    pickles = [file.name for file in inner if file.name.endswith(PICKLES)]
    if pickles and not chosen:
        raise CardError(f"{pickles[0]}: pickled weights are refused; wanted {WEIGHTS}")
    kinds = {_kind(file.name) for file in chosen if _SHARD.search(file.name)}
    small = [file for file in inner if not file.name.endswith((*OF_WEIGHTS, *_NOT_LOADED))]
    return [
        *(file for file in small if _INDEX not in file.name or _is_index_of(file.name, kinds)),
        *chosen,
    ]


def _is_index_of(name: str, kinds: Iterable[tuple[str, str]]) -> bool:
    """Whether a file lists the shards of weights of some kind."""
    return f"{WEIGHTS}{_INDEX}" in name and _kind(name) in kinds


def _once(weights: list[Listed], variant: str | None) -> list[Listed]:
    """The weights that are loaded: of the variant where it is there, else of none."""
    kinds: dict[tuple[str, str], list[Listed]] = {}
    for file in weights:
        kinds.setdefault(_kind(file.name), []).append(file)
    for wanted in dict.fromkeys((variant or "", "")):
        for stem in _STEMS:
            if found := kinds.get((stem, wanted)):
                shards = [file for file in found if _SHARD.search(file.name)]
                whole = [file for file in found if file not in shards]
                # diffusers looks for shards first, transformers for the whole file.
                first = shards if stem == _STEMS[0] else whole
                return first or shards or whole
    return []


def _kind(name: str) -> tuple[str, str]:
    """`model` and `fp16` of `unet/model.fp16-00001-of-00002.safetensors` and of its index."""
    stem, _, rest = PurePosixPath(name).name.partition(WEIGHTS)
    head, _, variant = _SHARD.sub("", stem).partition(".")
    told = rest.removesuffix(".json").removeprefix(".index").strip(".")
    return head, variant or told


def _is_part(name: str, given: Any) -> bool:
    return not name.startswith("_") and isinstance(given, list) and bool(given) and bool(given[0])


def total_bytes(files: Iterable[Listed]) -> int:
    """How much some files are."""
    return sum(file.size_bytes for file in files)
