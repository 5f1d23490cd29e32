"""Where an endpoint's weights are on this disk, and what they are; imports no torch."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from os.path import exists, isdir, isfile, realpath
from pathlib import Path
from typing import Any

import msgspec
from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError

from gateway.catalog.cards import CardError, Component, EndpointCard
from gateway.catalog.heads.endings import PICKLES, SINGLE, ends
from gateway.catalog.heads.layouts import config_of
from gateway.catalog.sources.civitai import civitai_file, is_civitai
from gateway.catalog.sources.shipped import shipped_layout

INDEX = "model_index.json"
MODULAR = "modular_model_index.json"
INDEXES = (INDEX, MODULAR)
"""What names the parts of a pipeline; the second of one that is made of blocks."""

SNAPSHOTS = "snapshots"
"""Where the hub's cache has the commits of a repository."""


def index_file(card: EndpointCard) -> Path | None:
    """The pipeline's `model_index.json`, in its folder or in the hub's cache."""
    layout = layout_of(card)
    if layout is None:
        return None
    local = card.folder / layout
    if exists(local):
        return index_in(Path(realpath(local)))
    revision = None if is_single(card) else card.revision
    found = (cached_file(layout, name, revision) for name in INDEXES)
    shipped = shipped_layout(layout) if is_single(card) else None
    return next((index for index in found if index), index_in(shipped) if shipped else None)


def index_in(folder: Path) -> Path | None:
    """The file that names the parts of the pipeline in a folder; None where there is none."""
    found = (folder / name for name in INDEXES)
    return next((index for index in found if isfile(index)), None)


def layout_of(card: EndpointCard) -> str | None:
    """The folder or hub id that says which parts an endpoint has; None where nothing tells."""
    if not is_single(card):
        return card.source
    if card.config is not None:
        return card.config
    file = single_file(card)
    with suppress(CardError):
        return config_of(file) if file else None
    return None


def is_single(card: EndpointCard | Component) -> bool:
    """Whether weights come from a single file."""
    return (
        card.weight_name is not None
        or is_civitai(card.source)
        or ends(str(card.source), *SINGLE, *PICKLES)
    )


def single_file(card: EndpointCard) -> Path | None:
    """The single file that an endpoint's weights come from, where it is here."""
    return file_of(card.folder, card)


def file_of(folder: Path, given: EndpointCard | Component) -> Path | None:
    """The single file that a card names, in its own folder or fetched."""
    if given.source is None:
        return None
    if is_civitai(given.source):
        return civitai_file(given.source, given.weight_name)
    local, name = folder / given.source, given.weight_name
    if name is None or isdir(local):
        file = local / name if name else local
        return Path(realpath(file)) if isfile(file) else None
    return cached_file(given.source, name, given.revision)


def sources_of(card: EndpointCard) -> Iterator[tuple[str, str | None]]:
    """The repositories that an endpoint is fetched from, and their revisions."""
    found = [(card.source, card.revision)]
    layout = layout_of(card)
    if is_single(card) and layout:
        found.append((layout, None))
    found += [(part.source, part.revision) for part in card.parts.values() if part and part.source]
    yield from (each for each in dict.fromkeys(found) if not exists(card.folder / each[0]))


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
    name = read_index(index).get("_class_name")
    return name if isinstance(name, str) else None


def weights_of(files: Iterable[Path]) -> list[Path]:
    """Those of some files that hold weights."""
    return [path for path in files if ends(path, *SINGLE)]


def parts_of(index: Path) -> list[Path]:
    """The folders of the components that `model_index.json` names."""
    return [
        index.parent / name
        for name, value in read_index(index).items()
        if not name.startswith("_") and isinstance(value, list) and value and value[0] is not None
    ]


def read_index(index: Path) -> dict[str, Any]:
    """What the file says; nothing if it is malformed."""
    try:
        return msgspec.json.decode(index.read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}
