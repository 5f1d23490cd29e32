"""Where an endpoint's weights are on this disk, and what they are; imports no torch."""

from collections.abc import Iterable
from os.path import isfile
from pathlib import Path
from typing import Any

import msgspec
from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError

from gateway.catalog.cards import EndpointCard
from gateway.catalog.stamps import stamps_of

INDEX = "model_index.json"
WEIGHTS = ".safetensors"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


def index_file(card: EndpointCard) -> Path | None:
    """The pipeline's `model_index.json`, in its folder or in the hub's cache."""
    if card.is_local:
        local = Path(card.location) / INDEX
        return local if isfile(local) else None
    return cached_file(card.source, INDEX, card.revision)


def cached_file(source: str, name: str, revision: str | None) -> Path | None:
    """A file of the hub's cache; None where it is not there, or there can be none."""
    try:
        cached = try_to_load_from_cache(source, name, revision=revision)
    except HFValidationError:
        return None
    return Path(cached) if isinstance(cached, str) else None


def pipeline_class(card: EndpointCard) -> str | None:
    """The diffusers class that runs an endpoint, where the card or its weights tell."""
    if card.pipeline:
        return card.pipeline
    index = index_file(card)
    if index is None:
        return None
    name = _decoded(index).get("_class_name")
    return name if isinstance(name, str) else None


def files_of(card: EndpointCard) -> list[Path]:
    """Every file that an endpoint is loaded from, as far as they are here, and their folders.

    A folder shows that a file has come, such as the last one of those that are being copied.
    """
    index = index_file(card)
    if index is None:
        return [Path(card.location) / INDEX] if card.is_local else []
    found = [index]
    for part in parts_of(index):
        found.append(part)
        files = sorted(path for path in part.glob("*") if path.is_file())
        weights = [path for path in files if path.suffix == WEIGHTS]
        varied = [path for path in weights if card.variant and f".{card.variant}." in path.name]
        unused = set(weights) - set(varied or weights)
        found += [path for path in files if path not in unused]
    for lora in card.fused:
        local = card.folder / lora.source
        path = local / lora.weight_name if lora.weight_name and local.is_dir() else local
        found += [path] if path.is_file() else []
    return found


def weights_of(files: Iterable[Path]) -> list[Path]:
    """Those of some files that hold weights."""
    return [path for path in files if path.suffix == WEIGHTS]


def bytes_on_disk(card: EndpointCard) -> int:
    """Bytes of an endpoint's weight files; 0 while they are not here."""
    return sum(stamp[1] for stamp in stamps_of(weights_of(files_of(card))).values() if stamp)


def parts_of(index: Path) -> list[Path]:
    """The folders of the components that `model_index.json` names."""
    return [
        index.parent / name
        for name, value in _decoded(index).items()
        if not name.startswith("_") and isinstance(value, list) and value and value[0] is not None
    ]


def _decoded(index: Path) -> dict[str, Any]:
    """What the file says; nothing if it is malformed."""
    try:
        return msgspec.json.decode(index.read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}
