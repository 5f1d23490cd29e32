"""Whether an endpoint's weights are on this disk, and what they are; imports no torch."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
from httpx import HTTPError
from huggingface_hub import HfApi, try_to_load_from_cache
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)

from gateway.catalog.cards import AdapterCard, CardError, EndpointCard

INDEX = "model_index.json"
WEIGHTS = ".safetensors"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


def index_file(card: EndpointCard) -> Path | None:
    """The pipeline's `model_index.json`, in its folder or in the hub's cache."""
    if card.is_local:
        local = Path(card.location) / INDEX
        return local if local.exists() else None
    cached = try_to_load_from_cache(card.source, INDEX, revision=card.revision)
    return Path(cached) if isinstance(cached, str) else None


def pipeline_class(card: EndpointCard) -> str | None:
    """The diffusers class that runs an endpoint, where the card or its weights tell."""
    if card.pipeline:
        return card.pipeline
    index = index_file(card)
    if index is None:
        return None
    name = msgspec.json.decode(index.read_bytes()).get("_class_name")
    return str(name) if name else None


def is_on_disk(card: EndpointCard) -> bool:
    """Whether every component that `model_index.json` names has its folder here."""
    index = index_file(card)
    parts = _parts(index) if index else []
    return bool(parts) and all(any(part.glob("*")) for part in parts)


def files_of(card: EndpointCard) -> list[Path]:
    """Every file that an endpoint is loaded from, as far as they are here, and their folders.

    A folder shows that a file has come, such as the last one of those that are being copied.
    """
    index = index_file(card)
    if index is None:
        return [Path(card.location) / INDEX] if card.is_local else []
    found = [index]
    for part in _parts(index):
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


def _parts(index: Path) -> list[Path]:
    """The folders of the components that `model_index.json` names; none if it is malformed."""
    try:
        parts = msgspec.json.decode(index.read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.MsgspecError):
        return []
    return [
        index.parent / name
        for name, value in parts.items()
        if not name.startswith("_") and isinstance(value, list) and value and value[0] is not None
    ]


def check_weights(card: EndpointCard) -> None:
    """Make sure, before serving, that an endpoint's weights are here or can be fetched.

    Raises:
        CardError: they are not, and why.
    """
    if is_on_disk(card):
        return
    where = f"{card.path}: key 'source' = {card.source!r}"
    if card.is_local or card.source.startswith((".", "/")):
        raise CardError(f"{where}: wanted a folder with {INDEX} and every part it names")
    try:
        HfApi().model_info(card.source, revision=card.revision, timeout=10)
    except GatedRepoError:
        raise CardError(
            f"{where}: the hub wants its licence accepted and a login (`hf auth login`)"
        ) from None
    except RepositoryNotFoundError:
        raise CardError(f"{where}: neither a folder nor a repository on the hub") from None
    except (HfHubHTTPError, OfflineModeIsEnabled, HTTPError, OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CardError(
            f"{where}: the weights are not on this disk and the hub cannot be reached: {reason}"
        ) from None


def check_adapter(card: AdapterCard) -> None:
    """Make sure, before serving, that an adapter's own file is where its card says.

    Raises:
        CardError: it is not. A hub id is fetched when it is first asked for.
    """
    if card.file is None and card.source.endswith(".safetensors"):
        raise CardError(
            f"{card.path}: key 'source' = {card.source!r}: wanted a file beside the card"
        )
