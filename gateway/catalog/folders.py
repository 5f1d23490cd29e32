"""Folders of cards, read: what there is, what of it is broken, and what is passed over.

`models/` holds `<id>.toml`, `<folder>/card.toml` (weights beside the card), or what needs no card:
`<id>/model_index.json`, `<owner>/<name>/model_index.json`, a repository as the hub's cache has it,
a bare `<id>.safetensors` or `.gguf`, or a whole model in one, `<folder>/<name>.safetensors`;
`adapters/<endpoint>/` holds `<route>.toml`, `<route>/card.toml`, or a bare
`<route>.safetensors` that needs no card, as does a folder `<route>/` that diffusers or PEFT wrote.
"""

from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from os.path import exists, isdir, lexists, normpath, realpath
from pathlib import Path
from typing import TypeVar

import msgspec

from gateway.catalog.cards import (
    CARD,
    AdapterCard,
    CardError,
    ControlCard,
    EmbeddingCard,
    EndpointCard,
    read_card,
    read_text,
)
from gateway.catalog.catalog import Catalog
from gateway.catalog.drafts.inferred import infer
from gateway.catalog.heads.endings import SEEN, SINGLE, WEIGHTS, ends, lying_in
from gateway.catalog.heads.kinds import ADAPTER_FILES
from gateway.catalog.heads.layouts import DENOISER, sections_of
from gateway.catalog.sources.weights import (
    SNAPSHOTS,
    index_file,
    index_in,
    layout_of,
)
from gateway.catalog.survey.strays import (
    CARDS,
    folder_faults,
    leads_back,
    strays_of_adapters,
    strays_of_models,
)

CONFIG, ENCODER = "config.json", "image_encoder"
"""What is in the folder of a ControlNet, and in that of an IP-Adapter."""

Card = TypeVar("Card", EndpointCard, AdapterCard)
Beside = TypeVar("Beside", ControlCard, EmbeddingCard)


def load_catalog(
    models: tuple[Path, ...],
    adapters: tuple[Path, ...],
    controls: tuple[Path, ...] = (),
    embeddings: tuple[Path, ...] = (),
) -> Catalog:
    """Read every card under the given folders; a later folder's card wins over an earlier one's.

    One that cannot be read stands in the catalogue by the id that it would have, as broken.
    """
    models, adapters, controls, embeddings = (
        tuple(folder.absolute() for folder in each)
        for each in (models, adapters, controls, embeddings)
    )
    reading = _Reading()
    for folder in models:
        reading.read_models(folder)
    for folder in adapters:
        reading.read_adapters(folder)
    reading.passed_over += folder_faults((*models, *adapters, *controls, *embeddings))
    for folder in models:
        reading.passed_over += strays_of_models(folder, reading.used)
    nets, words = _lying_in(controls, ControlCard), _lying_in(embeddings, EmbeddingCard)
    reading.used |= {card.place for each in (nets.values(), words.values()) for card in each}
    for folder in (*adapters, *controls, *embeddings):
        reading.passed_over += strays_of_adapters(folder, reading.used, reading.endpoints.keys())
    return Catalog(
        reading.endpoints,
        reading.adapters,
        broken=reading.broken,
        passed_over=tuple(reading.passed_over),
        controls=nets,
        embeddings=words,
    )


def pipelines_in(folder: Path) -> Iterator[tuple[str, Path]]:
    """The ids and folders of the pipelines of a folder: itself, as the hub's cache, or within."""
    if index_in(folder):
        yield folder.name, folder
        return
    if (snapshots := folder / SNAPSHOTS).is_dir():
        id = folder.name.removeprefix("models--").replace("--", "/")
        if place := _snapshot(folder, snapshots):
            yield id, place
        return
    for place in sorted(folder.glob(f"{SEEN}/")):
        if index_in(place):
            yield f"{folder.name}/{place.name}", place


def _snapshot(folder: Path, snapshots: Path) -> Path | None:
    """The commit of a repository in the hub's cache that is meant: the main one, else the last."""
    main = folder / "refs" / "main"
    with suppress(OSError):
        if index_in(place := snapshots / main.read_text(errors="replace").strip()):
            return place
    found = [place for place in snapshots.glob(SEEN) if index_in(place)]
    return max(found, key=lambda place: place.stat().st_mtime, default=None)


def _lying_in(folders: tuple[Path, ...], kind: type[Beside]) -> dict[tuple[str, str], Beside]:
    """What lies in the endpoints' folders: files of weights, and folders with a config."""
    found = {}
    for folder in folders:
        for path in sorted(folder.glob(f"{SEEN}/{SEEN}")):
            if ends(path, WEIGHTS) or exists(path / CONFIG) or isdir(path / ENCODER):
                owner = path.parent.name.replace("--", "/")
                route = path.stem if ends(path, WEIGHTS) else path.name
                found[owner, route] = kind(
                    endpoint=owner, route=route, source=path.name, path=path
                )
    return found


class _Reading:
    """What has been read so far; `used` are the files and folders that belong to something."""

    def __init__(self) -> None:
        self.endpoints: dict[str, EndpointCard] = {}
        self.adapters: dict[tuple[str, str], AdapterCard] = {}
        self.broken: dict[str, CardError] = {}
        self.passed_over: list[CardError] = []
        self.used: set[Path] = set()

    def read_models(self, folder: Path) -> None:
        found: dict[str, EndpointCard] = {}
        for path in sorted(folder.glob(f"{SEEN}{CARDS}")):
            self._read(found, path, EndpointCard, id=path.stem)
        for inner in sorted(path for path in folder.glob(f"{SEEN}/") if path.is_dir()):
            if leads_back(inner):
                continue
            if lexists(inner / CARD):
                self._read(found, inner / CARD, EndpointCard, id=inner.name)
                continue
            pipelines = list(pipelines_in(inner))
            for id, place in pipelines:
                self._add(found, infer(place, id).card(id, ".", place / CARD))
            for path in () if pipelines else lying_in(inner, *SINGLE):
                if path not in self.used and not isdir(path) and _is_whole(path):
                    self._add(found, _of_file(path, f"{inner.name}/{path.stem}"))
        for path in lying_in(folder, *SINGLE):
            if path not in self.used and not isdir(path):
                self._add(found, _of_file(path, path.stem))
        self.endpoints |= found

    def read_adapters(self, folder: Path) -> None:
        found: dict[str, AdapterCard] = {}
        alone, beside = f"{SEEN}/{SEEN}{CARDS}", f"{SEEN}/{SEEN}/{CARD}"
        for path in sorted([*folder.glob(alone), *folder.glob(beside)]):
            owner = path.relative_to(folder).parts[0].replace("--", "/")
            route = path.parent.name if path.name == CARD else path.stem
            given = {"endpoint": owner, "route": route, "source": f"{route}{WEIGHTS}"}
            self._read(found, path, AdapterCard, **given)
        described = {realpath(card.place) for card in found.values()}
        for path in lying_in(folder, WEIGHTS, at=f"{SEEN}/{SEEN}"):
            owner = path.parent.name.replace("--", "/")
            self.used.add(path)
            if realpath(path) not in described and f"{owner}:{path.stem}" not in found:
                card = AdapterCard(endpoint=owner, route=path.stem, source=path.name, path=path)
                self._add(found, card)
        self._read_written(folder, found)
        self.adapters |= {(card.endpoint, card.route): card for card in found.values()}

    def _read_written(self, folder: Path, found: dict[str, AdapterCard]) -> None:
        """Take the folders that diffusers or PEFT wrote adapters to, one each."""
        files = chain(*(folder.glob(f"{SEEN}/{SEEN}/{name}") for name in ADAPTER_FILES))
        for file in sorted(files):
            place = file.parent
            owner, route = place.parent.name.replace("--", "/"), place.name
            if f"{owner}:{route}" not in found and not {file, place} & self.used:
                card = AdapterCard(endpoint=owner, route=route, source=route, path=place)
                self._add(found, msgspec.structs.replace(card, weight_name=file.name))

    def _read(self, found: dict[str, Card], path: Path, kind: type[Card], **named: str) -> None:
        """Take a card; one that cannot be read as its file is named, or as it calls itself."""
        self.used.add(path)
        try:
            card = read_card(path, kind)
            _check_owner(card, named)
        except CardError as fault:
            nameless = _named(path, kind, named)
            if nameless is None or nameless.id in found:
                self.passed_over.append(fault)
            else:
                self._add(found, nameless)
                self.broken[nameless.id] = fault
        else:
            self._add(found, card)

    def _add(self, found: dict[str, Card], card: Card) -> None:
        """Take a card, unless there is one of its id in the same folder."""
        assert card.path
        folder: Path = card.path.parent
        self.used.add(card.path)
        if not card.id.isprintable():
            self.passed_over.append(CardError("passed over: its name is no text", card.path))
            return
        if (other := found.get(card.id)) is not None:
            told = f"passed over: '{card.id}' is described in {other.path} already"
            self.passed_over.append(CardError(told, card.path))
            return
        found[card.id] = card
        self.broken.pop(card.id, None)  # an earlier folder's, which this one's replaces
        sources: list[str] = [card.source]
        if isinstance(card, EndpointCard):
            sources += [lora.source for lora in card.fused]
            sources += [part.source for part in card.parts.values() if part and part.source]
            sources += [card.config] if card.config else []
        self.used |= {Path(normpath(folder / each)) for each in sources}


def _is_whole(file: Path) -> bool:
    """Whether a file has more of a model than its denoiser, and no other part alone."""
    with suppress(CardError):
        return len(found := sections_of(file)) > 1 and DENOISER in found
    return False


def _of_file(path: Path, id: str) -> EndpointCard:
    """The endpoint of a bare file, as far as the configs tell that it goes with."""
    plain = EndpointCard(id="a", source=path.name, path=path)
    index, layout = index_file(plain), layout_of(plain)
    told = infer(index.parent if index else path, path.stem, str(layout))
    return told.card(id, path.name, path)


def _check_owner(card: EndpointCard | AdapterCard, named: dict[str, str]) -> None:
    if isinstance(card, AdapterCard) and card.endpoint != named["endpoint"]:
        owner = named["endpoint"].replace("/", "--")
        raise CardError(
            f"key 'endpoint': '{card.endpoint}' lies in the folder of '{owner}'", card.path
        )


def _named(path: Path, kind: type[Card], named: dict[str, str]) -> Card | None:
    """A card with nothing but names: as it calls itself, else as its file is called."""
    try:
        told = msgspec.toml.decode(read_text(path))
    except (CardError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        told = {}
    names = {key: told[key] for key in ("id", "route") if key in named and key in told}
    for given in (named | names, named):
        try:
            return msgspec.structs.replace(msgspec.convert(given, kind), path=path)
        except msgspec.ValidationError:
            continue
    return None
