"""Whether an endpoint's weights are on this disk, and what they are; imports no torch."""

from pathlib import Path

import msgspec
from huggingface_hub import try_to_load_from_cache

from gateway.catalog import EndpointCard

INDEX = "model_index.json"


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
    if index is None:
        return False
    parts = msgspec.json.decode(index.read_bytes())
    named = [
        name
        for name, value in parts.items()
        if not name.startswith("_") and isinstance(value, list) and value[0] is not None
    ]
    return all(any((index.parent / name).glob("*")) for name in named)
