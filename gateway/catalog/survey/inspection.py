"""Whether a model can be loaded, as far as cards, folders and the heads of files tell.

It takes a few looks at each file, none at weights, and imports no torch: quick enough to do
at each start for every card there is. What only loading shows is found when it is loaded.
"""

import json
import re
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from os.path import exists
from pathlib import Path
from typing import Any

from gateway.catalog.cards import (
    PREVIEWS,
    AdapterCard,
    CardError,
    Component,
    EndpointCard,
    near,
)
from gateway.catalog.heads.endings import GGUF, PICKLES, REFUSED, WEIGHTS, ends
from gateway.catalog.heads.gguf import read_gguf
from gateway.catalog.heads.headers import UNFINISHED, Header, read_header
from gateway.catalog.heads.kinds import LORA_FILE
from gateway.catalog.heads.layouts import makes_videos
from gateway.catalog.heads.libraries import (
    NO_MODULE,
    diffusers_names,
    lacking,
    transformers_has,
    transformers_names,
)
from gateway.catalog.heads.stock import diffusers_folder, stock_of
from gateway.catalog.heads.strangers import why_no_model
from gateway.catalog.sources.civitai import is_civitai
from gateway.catalog.sources.hub import is_hub_id, lines_of
from gateway.catalog.sources.parts import Place, components_of, places_of
from gateway.catalog.sources.weights import (
    INDEX,
    file_of,
    index_file,
    is_single,
    layout_of,
)

_SHARDS = re.compile(r"\.safetensors\.index(\.\w+)?\.json$")
_SHARD = re.compile(r"-\d+-of-\d+\.(safetensors|gguf)$", re.IGNORECASE)
_SMALL_BYTES = 2**20


class NotHereError(CardError):
    """Files lie on the hub and not here yet; they come when they are first asked for."""


def inspect_endpoint(card: EndpointCard) -> None:
    """See that an endpoint's files are here, whole, and what its card says of them.

    Raises:
        NotHereError: they are to be fetched.
        CardError: it cannot be loaded, and why.
    """
    if card.path is None:
        return  # made in code, with what nobody wrote down
    for key, name in _classes(card):
        _check_class(card, f"key '{key}'", name)
    for lora in card.fused:
        place = card.folder / lora.source
        if place.exists() or ends(lora.source, WEIGHTS):
            check_file(card, place / (lora.weight_name or LORA_FILE) if place.is_dir() else place)
    _check_own(card)
    index = _index(card)
    parts = _decoded(card, index)
    if not isinstance(parts, dict):
        raise CardError(f"{INDEX}: wanted an object", card.path)
    kind = parts.get("_class_name")
    if card.pipeline is None and not isinstance(kind, list):
        if not kind:
            raise CardError(f"{INDEX}: names no pipeline as _class_name", card.path)
        _check_class(card, f"{INDEX}: _class_name", str(kind))
    check_made(card, parts)
    for name, part in card.parts.items():
        if part is not None and name not in parts and name != PREVIEWS:
            told = near(name, components_of(parts))
            raise CardError(f"key 'components': the pipeline has no part '{name}'{told}", card.path)
    _check_places(card)


def inspect_files(card: EndpointCard) -> None:
    """See that the files that a card names are here, and whole.

    What its configs lie beside may have weights of its own, that would be read in their place.

    Raises:
        CardError: one is not.
    """
    _check_own(card)
    for place in places_of(card):
        _check_given(card, place)


def check_made(card: EndpointCard, index: Mapping[str, Any]) -> None:
    """See that an endpoint draws pictures, by what an index says of its pipeline.

    Raises:
        CardError: it makes something else.
    """
    told = (index.get("_blocks_class_name"), index.get("_class_name"))
    for name in map(str, [card.pipeline] if card.pipeline else told):
        if made := stock_of(name).makes:
            raise CardError(f"{name} makes {made}, not pictures", card.path)


def _check_own(card: EndpointCard) -> None:
    """See that the single file is here that an endpoint comes from, if it does."""
    if not is_single(card):
        return
    _check_source(card, f"key 'source' = {card.source!r}", card)
    file = file_of(card.folder, card)
    if file and makes_videos(file):
        raise CardError(f"{file.name}: makes videos, not pictures", card.path)


def _check_places(card: EndpointCard) -> None:
    places = places_of(card)
    for place in places:
        _check_place(card, place)
    _check_variant(card, [place.folder for place in places if place.folder])


def _classes(card: EndpointCard) -> Iterator[tuple[str, str]]:
    """The classes that a card names, by key."""
    named = {"pipeline": card.pipeline, "edit_pipeline": card.edit_pipeline}
    named["scheduler.class"] = card.scheduler.cls if card.scheduler else None
    yield from ((key, name) for key, name in named.items() if name)


def _check_library(card: EndpointCard, name: str) -> None:
    """See that there is a library, or one of diffusers' own modules of pipelines."""
    place, package = diffusers_folder(), name.partition(".")[0]
    if place is None or name in ("diffusers", "transformers"):
        return
    is_known = package.isidentifier() and (
        find_spec(package) is not None or any((place / "pipelines").rglob(package))
    )
    if not is_known:
        raise CardError(
            f"{INDEX}: needs the package '{package}', which is not installed", card.path
        )


def _check_class(card: EndpointCard, where: str, name: str) -> None:
    known = diffusers_names()
    if known and name not in known:
        raise CardError(f"{where}: diffusers has no class '{name}'{near(name, known)}", card.path)


def _index(card: EndpointCard) -> Path:
    """The pipeline's index, wherever it lies."""
    index, source = index_file(card), layout_of(card)
    if index is not None:
        return index
    if source is None:
        raise CardError(_untold(card), card.path)
    place = card.folder / source
    where = f"key '{'config' if is_single(card) else 'source'}' = {source!r}"
    if place.is_dir():
        raise CardError(f"{where}: wanted a folder with {INDEX} and every part it names", card.path)
    if place.is_symlink() or place.exists():
        what = "a link that leads nowhere" if place.is_symlink() else "no folder"
        raise CardError(f"{where}: is {what}", card.path)
    beside = near(place.name, [path.name for path in place.parent.glob("*/")])
    if not is_hub_id(source):
        raise CardError(f"{where}: there is no such folder{beside}", card.path)
    raise NotHereError(f"{where}: neither a folder here nor in the hub's cache{beside}", card.path)


def _untold(card: EndpointCard) -> str:
    """What a file is that no layout is known for."""
    file = file_of(card.folder, card)
    return (file and why_no_model(file)) or (
        f"its names and shapes do not tell what it is; wanted {lines_of(card)}: a folder or the "
        "hub id of a pipeline that it goes with"
    )


def _absent(card: EndpointCard, reason: str) -> CardError:
    """A part that is missing: on the hub there is more, in a folder there is not."""
    source = layout_of(card)
    is_local = source is None or exists(card.folder / source)
    return CardError(reason, card.path) if is_local else NotHereError(reason, card.path)


def _decoded(card: EndpointCard, file: Path) -> Any:
    name = file.name if file.name == INDEX else f"{file.parent.name}/{file.name}"
    if not file.is_file():  # one that leads nowhere, or a pipe that would be waited for
        raise _absent(card, f"{name}: is no file that can be read")
    try:
        return json.loads(file.read_bytes().decode())  # has infinities, which msgspec refuses
    except OSError as error:
        raise CardError(f"{name}: cannot be read: {error.strerror}", card.path) from None
    except (ValueError, RecursionError) as error:
        raise CardError(f"{name}: not valid JSON: {error}", card.path) from None


def _check_place(card: EndpointCard, place: Place) -> None:
    """See that a part is where the card says, or else where the pipeline's others are."""
    given, where = place.given, f"key '{_key(place)}'"
    if given.cls and given.cls not in diffusers_names() and not transformers_has(given.cls):
        raise CardError(f"{where}: there is no class '{given.cls}'", card.path)
    if given.quantized and (needs := lacking(given.quantized.partition("-")[0])):
        raise _lacking(card, f"{where}: quantized = '{given.quantized}'", needs)
    _check_given(card, place)
    if place.folder is None:
        raise NotHereError(f"{where}: its configs are not on this disk", card.path)
    is_packed = place.file is not None and ends(place.file, GGUF)
    if is_packed and place.library == "transformers":
        raise CardError(f"{where}: text encoders are not read from GGUF", card.path)
    if not place.is_single:
        _check_part(card, place.folder, place.library, place.cls)
    elif not (place.folder / "config.json").is_file():
        raise _absent(card, f"{place.name}: config.json is missing")


def _check_given(card: EndpointCard, place: Place) -> None:
    """See that what a card names as a part is here."""
    if (source := place.given.source) is not None:
        _check_source(card, f"key '{_key(place)}': source = {source!r}", place.given)


def _key(place: Place) -> str:
    return PREVIEWS if place.name == PREVIEWS else f"components.{place.name}"


def _check_source(card: EndpointCard, where: str, given: EndpointCard | Component) -> None:
    """See that what a card names is here, and whole if it is a single file."""
    source = str(given.source)
    if not is_single(given):
        if not exists(card.folder / source) and not is_hub_id(source):
            raise CardError(f"{where}: there is no such file or folder", card.path)
        return
    file = file_of(card.folder, given)
    if file is not None and _SHARD.search(file.name):
        raise CardError(
            f"{where}: one of several files; wanted the folder with all of them and what lists "
            "them, or all in one file", card.path
        )  # fmt: skip
    if file is not None and ends(file, GGUF):
        if needs := lacking("gguf"):
            raise _lacking(card, file.name, needs)
        read_gguf(file)
    elif file is not None:
        check_file(card, file)
    elif is_civitai(source):
        raise NotHereError(f"{where}: is not on this disk", card.path)
    elif given.weight_name and is_hub_id(source) and not exists(card.folder / source):
        raise NotHereError(f"{where}: {given.weight_name} is not on this disk", card.path)
    else:
        place = card.folder / source
        absent = "its link leads nowhere" if place.is_symlink() else "there is no such file"
        told = "is no file" if exists(place) else absent
        raise CardError(f"{where}: {told}", card.path)


def _lacking(card: EndpointCard, where: str, needs: str) -> CardError:
    return CardError(f"{where}: needs {needs}", card.path)


def _check_part(card: EndpointCard, folder: Path, library: str, cls: str) -> None:
    _check_library(card, library)
    if library == "diffusers":
        _check_class(card, f"{INDEX}: {folder.name}", cls)
    if library == "transformers" and not transformers_has(cls):
        raise CardError(
            f"{INDEX}: {folder.name}: transformers has no class '{cls}'"
            f"{near(cls, transformers_names())}",
            card.path,
        )
    names = sorted(path.name for path in folder.glob("[!.]*"))
    if not names:
        is_link = folder.is_symlink() and not folder.exists()
        what = "is a link that leads nowhere" if is_link else "is not there"
        raise _absent(
            card, f"the part '{folder.name}' {what if not folder.exists() else 'is empty'}"
        )
    for name in names:
        if name.endswith(".json") and _size(folder / name) < _SMALL_BYTES:
            _decoded(card, folder / name)
    if cls.endswith("Scheduler") and "scheduler_config.json" not in names:
        raise _absent(card, f"{folder.name}: scheduler_config.json is missing")
    weights = [name for name in names if name.endswith(WEIGHTS)]
    if weights and "config.json" not in names:
        raise _absent(card, f"{folder.name}: config.json is missing")
    if "config.json" in names:
        _check_packing(card, folder)
    if "config.json" in names and not cls.endswith(NO_MODULE):
        _check_weights(card, folder, names, weights)


def _check_packing(card: EndpointCard, folder: Path) -> None:
    """See that the package is here that weights were packed with."""
    config = _decoded(card, folder / "config.json")
    packing = config.get("quantization_config") if isinstance(config, dict) else None
    method = packing.get("quant_method") if isinstance(packing, dict) else None
    if needs := lacking(str(method)):
        raise _lacking(card, f"{folder.name}: packed by {method}", needs)


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _check_weights(card: EndpointCard, folder: Path, names: list[str], weights: list[str]) -> None:
    """See that a part has every file of weights, and each is whole."""
    varied = [name for name in weights if card.variant and f".{card.variant}." in name]
    shards = [name for name in names if _SHARDS.search(name)]
    chosen = [name for name in shards if card.variant and f".{card.variant}." in name]
    for name in chosen or ([] if varied else shards):
        listed = _decoded(card, folder / name)
        wanted = listed.get("weight_map", {}).values() if isinstance(listed, dict) else ()
        if missing := sorted({str(shard) for shard in wanted if shard not in weights}):
            more = f" and {len(missing) - 1} more" if missing[1:] else ""
            raise _absent(card, f"{folder.name}: the shard {missing[0]} is missing{more}")
    for name in varied or weights:
        check_file(card, folder / name, f"{folder.name}/")
    loose = [name for name in varied or weights if _SHARD.search(name)]
    if loose and loose == (varied or weights) and not (chosen or shards):
        raise _absent(card, f"{folder.name}: what lists its shards, as {loose[0]}, is missing")
    if weights:
        return
    if pickles := [name for name in names if name.endswith(PICKLES)]:
        raise CardError(
            f"{folder.name}/{pickles[0]}: {REFUSED}", card.path
        )
    left = next((name for name in names if name.endswith(UNFINISHED)), None)
    told = f"; {left} was not downloaded to its end" if left else ""
    if (file := file_of(card.folder, card)) is not None:
        key = f"key 'components.{folder.name}'"
        told += f"; {file.name} has none of them, and {key} names a file that has"
    raise _absent(card, f"{folder.name}: its weights are missing{told}")


def _check_variant(card: EndpointCard, folders: list[Path]) -> None:
    if card.variant is None or is_single(card):
        return
    names = [path.name for folder in folders for path in folder.glob(f"*{WEIGHTS}")]
    if not any(f".{card.variant}" in name for name in names):
        raise _absent(card, f"key 'variant' = {card.variant!r}: there is no file of this variant")


def check_file(card: EndpointCard | AdapterCard, file: Path, where: str = "") -> Header:
    """A file's head; what is wrong with it is told with its card and its own name."""
    if ends(file, *PICKLES):
        raise CardError(
            f"{where}{file.name}: {REFUSED}", card.path
        )
    named = "" if file == card.path else f"{where}{file.name}: "
    try:
        return read_header(file)
    except CardError as fault:
        raise CardError(f"{named}{fault.reason}", card.path) from None
