"""Of which parts an endpoint is made, and where each lies on this disk; imports no torch."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from os.path import exists, isdir, realpath
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from gateway.catalog.cards import PREVIEWS, CardError, Component, EndpointCard
from gateway.catalog.heads.layouts import section_of, sections_of
from gateway.catalog.heads.libraries import library_of
from gateway.catalog.heads.stamps import stamps_of
from gateway.catalog.sources.hub import is_hub_id
from gateway.catalog.sources.weights import (
    INDEX,
    cached_file,
    file_of,
    index_file,
    is_single,
    layout_of,
    read_index,
    single_file,
    weights_of,
)

CONFIGS = (
    "config.json", "scheduler_config.json", "tokenizer_config.json", "preprocessor_config.json",
)  # fmt: skip

OPTIONAL = ("safety_checker",)
"""Parts that single files have none of; as in diffusers they are not fetched unless named."""


TINY = "AutoencoderTiny"
"""What decodes previews where neither the card nor its configs say another class."""


class Spec(msgspec.Struct, frozen=True):
    """Where an index of blocks says that a part comes from."""

    pretrained_model_name_or_path: str | None = None
    subfolder: str | None = None
    revision: str | None = None


class Place(NamedTuple):
    """Where a part lies: `folder` has its configs, and its weights unless `is_single`.

    `folder` and `file` are None for what is not here. `given` is what the card says of it, and
    `is_own` whether it is read apart from what lies in the folder of the pipeline.
    """

    name: str
    library: str
    cls: str
    folder: Path | None
    file: Path | None
    given: Component
    is_single: bool
    is_own: bool


def places_of(card: EndpointCard) -> list[Place]:
    """Every part of an endpoint that is not left out, as far as its index is here."""
    index = index_file(card)
    return list(_places(card, index, read_index(index))) if index else []


def parts_elsewhere(card: EndpointCard) -> tuple[list[str], list[str]]:
    """The parts that are not fetched with the pipeline: those with configs there, and all."""
    index = index_file(card)
    names = components_of(read_index(index)) if index else {}
    places = {place.name: place for place in places_of(card)}
    kept = [name for name, place in places.items() if place.is_single and not place.given.config]
    given = [name for name, place in places.items() if place.given.source is not None]
    return kept, [*kept, *given, *(name for name in names if name not in places)]


def parts_given(card: EndpointCard) -> dict[str, Component | None]:
    """The parts that lie elsewhere, by the card or by an index of blocks; None for those left out.

    Such an index names other repositories; what lies beside it is taken all the same.
    """
    index = index_file(card)
    told = _specs(read_index(index)) if index else {}
    own = layout_of(card)
    found = {
        name: Component(
            source=spec.pretrained_model_name_or_path, subfolder=spec.subfolder,
            revision=spec.revision,
        )
        for name, spec in told.items()
        if index and is_hub_id(source := spec.pretrained_model_name_or_path or "")
        and source != own and not exists(index.parent / (spec.subfolder or name))
    }  # fmt: skip
    return found | card.parts


def subfolder_of(name: str, value: Any) -> str:
    """The folder of a part that an index names, in the repository that it is in."""
    return _specs({name: value}).get(name, Spec()).subfolder or name


def _specs(parts: Mapping[str, Any]) -> dict[str, Spec]:
    """What an index of blocks tells of the parts it names."""
    found = {}
    for name, value in parts.items():
        if not name.startswith("_") and isinstance(value, list) and len(value) == 3:
            with suppress(msgspec.ValidationError):
                found[name] = msgspec.convert(value[2], Spec)
    return found


def components_of(parts: Any) -> dict[str, tuple[str, str]]:
    """Library and class of each part that an index names."""
    if not isinstance(parts, Mapping):
        return {}
    return {
        name: (str(value[0]), str(value[1]))
        for name, value in parts.items()
        if not name.startswith("_")
        and isinstance(value, list) and len(value) in (2, 3) and value[0] is not None
    }  # fmt: skip


def files_of(card: EndpointCard) -> list[Path]:
    """Every file that an endpoint is loaded from, as far as they are here, and their folders.

    A folder shows that a file has come, such as the last one of those that are being copied.
    """
    index, file = index_file(card), single_file(card) if is_single(card) else None
    found = [file] if file else []
    if index is None:
        return found or ([Path(card.location) / INDEX] if card.is_local else [])
    found.append(index)
    for place in places_of(card):
        found += files_of_place(card, place)
    for lora in card.fused:
        local = card.folder / lora.source
        path = local / lora.weight_name if lora.weight_name and local.is_dir() else local
        found += [path] if path.is_file() else []
    return list(dict.fromkeys(found))


def bytes_on_disk(card: EndpointCard) -> int:
    """Bytes of an endpoint's weight files; 0 while they are not here."""
    return sum(stamp[1] for stamp in stamps_of(weights_of(files_of(card))).values() if stamp)


def files_of_place(card: EndpointCard, place: Place) -> list[Path]:
    """Every file that a part is loaded from, as far as they are here, and its folder."""
    found = [place.file] if place.file else []
    if place.folder is None:
        return found
    files = sorted(path for path in place.folder.glob("*") if path.is_file())
    weights = weights_of(files)
    varied = [path for path in weights if card.variant and f".{card.variant}." in path.name]
    unused = set(weights) - (set() if place.is_single else set(varied or weights))
    return [*found, place.folder, *(path for path in files if path not in unused)]


def _places(card: EndpointCard, index: Path, parts: dict[str, Any]) -> Iterator[Place]:
    given = parts_given(card)
    whole = single_file(card) if is_single(card) else None
    sections = _sections(whole)
    added = {
        name: (library_of(own.cls), own.cls)
        for name, own in given.items()
        if own and own.cls and name in parts
    }
    if card.previews:
        added[PREVIEWS] = ("diffusers", (given[PREVIEWS] or Component()).cls or TINY)
    for name, (library, cls) in (components_of(parts) | added).items():
        own = given.get(name, None if is_single(card) and name in OPTIONAL else Component())
        if own is None:
            continue
        inner = index.parent / subfolder_of(name, parts.get(name))
        place = Place(name, library, cls, inner, None, own, False, own != Component())
        if own.source is not None and is_single(own):
            place = place._replace(file=file_of(card.folder, own), is_single=True)
        elif own.source is not None:
            folder = _folder(card, own.source, own.revision, own.subfolder or name)
            told = _class_in(folder) if library == "diffusers" and own.cls is None else None
            place = place._replace(folder=folder, cls=told or cls)
        elif section_of(name, place.cls) in sections:
            place = place._replace(file=whole, is_single=True, is_own=True)
        if own.config is not None:
            place = place._replace(folder=_folder(card, own.config, None, name))
        yield place


def _sections(file: Path | None) -> frozenset[str | None]:
    """What of a pipeline a single file has."""
    with suppress(CardError):
        return frozenset[str | None](sections_of(file)) if file else frozenset()
    return frozenset()


def _class_in(folder: Path | None) -> str | None:
    """The class that a part's own configs name; other libraries' name none."""
    files = [folder / name for name in CONFIGS[:2]] if folder else []
    found = next((name for file in files if (name := read_index(file).get("_class_name"))), None)
    return found if isinstance(found, str) else None


def _folder(card: EndpointCard, source: str, revision: str | None, name: str) -> Path | None:
    """A part's own folder, or that of the part in a pipeline's, here or in the hub's cache."""
    local = card.folder / source
    if exists(local):
        inner = local / name
        return Path(realpath(inner if isdir(inner) else local))
    for file in (*(f"{name}/{each}" for each in CONFIGS), *CONFIGS):
        if (cached := cached_file(source, file, revision)) is not None:
            return cached.parent
    return None
