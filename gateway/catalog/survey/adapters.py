"""Whether an adapter, or what else lies beside an endpoint, can be loaded; what its file tells."""

from collections.abc import Iterator
from os.path import lexists
from pathlib import Path

import msgspec

from gateway.catalog.cards import (
    AdapterCard,
    CardError,
    ControlCard,
    EmbeddingCard,
    EndpointCard,
)
from gateway.catalog.heads.endings import (
    GGUF,
    PICKLES,
    REFUSED,
    SINGLE,
    WEIGHTS,
    ends,
)
from gateway.catalog.heads.headers import Header, read_header
from gateway.catalog.heads.kinds import LORA_FILE, PLACES, why_unread
from gateway.catalog.heads.training import shown, tidy
from gateway.catalog.sources.civitai import civitai_file, is_civitai, known_version
from gateway.catalog.sources.parts import places_of
from gateway.catalog.sources.weights import cached_file
from gateway.catalog.survey.inspection import NotHereError, check_file

_MANY = 3


class BundledCard(EmbeddingCard, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A word whose vectors lie in an adapter's file, for those who ask for that `adapter`."""

    adapter: str

    @property
    def id(self) -> str:
        """Its name in messages."""
        return f"{self.endpoint}:{self.adapter}/embedding/{self.route}"


def inspect_adapter(card: AdapterCard, endpoint: EndpointCard | None) -> None:
    """See that an adapter's file is here, whole, and for its endpoint; or what else lies beside.

    Raises:
        NotHereError: it is to be fetched.
        CardError: it cannot be loaded, and why.
    """
    if isinstance(card, ControlCard | EmbeddingCard):
        _inspect_beside(card)
        return
    file = _adapter_file(card)
    if file is None:
        return
    header = check_file(card, file)
    if why := why_unread(header.unread, header.tuned, file):
        raise CardError(why, card.path)
    if not header.kinds:
        raise CardError(
            f"not a LoRA for '{card.endpoint}': none of its weights is one", card.path
        )
    widths = _denoiser_widths(endpoint) if endpoint else frozenset()
    if widths and (strange := sorted(header.lora_widths - widths)):
        widest = ", ".join(map(str, strange[:_MANY]))
        made_for = f"; it was made for {header.made_for}" if header.made_for else ""
        raise CardError(
            f"not a LoRA for '{card.endpoint}', which has no layers as wide as those "
            f"it changes ({widest}){made_for}",
            card.path,
        )


def _inspect_beside(card: ControlCard | EmbeddingCard) -> None:
    place = card.place
    files = sorted(place.glob("[!.]*")) if place.is_dir() else [place]
    weights = [file for file in files if ends(file, WEIGHTS)]
    if not weights:
        pickles = [file.name for file in files if ends(file, *PICKLES)]
        why = f"{pickles[0]}: pickled weights are refused" if pickles else "it has no weights"
        raise CardError(f"{why}; wanted {WEIGHTS}", card.path)
    own = ["textual inversion"] if isinstance(card, EmbeddingCard) else ["ControlNet"]
    own += ["IP-Adapter"] if place.is_dir() else []
    for file in weights:
        told = read_header(file).unread
        if told in PLACES and told not in own:
            why = f"{told} weights are no {own[0]}; wanted {PLACES[told]}"
            raise CardError(why, card.path)


def header_of(card: AdapterCard) -> Header | None:
    """What the head of an adapter's file says; None where there is none to read.

    What its authors say on Civitai goes before what was counted when it was trained.
    """
    try:
        file = _adapter_file(card)
        header = read_header(file) if file else None
    except (CardError, OSError):
        return None
    version = known_version(card.source) if is_civitai(card.source) else None
    if header is None or version is None:
        return header
    return msgspec.structs.replace(
        header,
        made_for=shown(version.base_model or "") or header.made_for,
        trigger_words=tidy(version.trained_words or ()) or header.trigger_words,
    )


def bundled_cards(card: AdapterCard) -> Iterator[BundledCard]:
    """The words whose embeddings lie in an adapter's file, as far as it is here."""
    header = header_of(card)
    for word in header.bundled_words if header else ():
        source = str(_adapter_file(card))
        yield BundledCard(endpoint=card.endpoint, adapter=card.route, route=word, source=source)


def _adapter_file(card: AdapterCard) -> Path | None:
    """The file of an adapter; None where it was made in code, or has gone with its file."""
    name, where = card.weight_name or LORA_FILE, f"key 'source' = {card.source!r}"
    if is_civitai(card.source):
        if file := civitai_file(card.source, card.weight_name):
            return file
        raise NotHereError(f"{where}: is not on this disk", card.path)
    if lexists(card.place):
        return card.place / name if card.place.is_dir() else card.place
    if card.path is None or card.path == card.place:
        return None
    if ends(card.source, WEIGHTS):
        raise CardError(f"{where}: wanted a file beside the card", card.path)
    if ends(name, *PICKLES):
        raise CardError(
            f"{card.source}/{name}: {REFUSED}", card.path
        )
    if card.source.startswith((".", "~")) or card.source.count("/") != 1:
        raise CardError(f"{where}: wanted a file beside the card, or a hub id", card.path)
    if cached := cached_file(card.source, name, card.revision):
        return cached
    raise NotHereError(f"{where}: {name} is not on this disk", card.path)


def _denoiser_widths(card: EndpointCard) -> frozenset[int]:
    """The widths that an endpoint's layers take, but for its text encoders'; none if unknown."""
    if card.path is None:
        return frozenset()
    widths: set[int] = set()
    try:
        for place in places_of(card):
            config = place.folder / "config.json" if place.folder else None
            if place.library == "transformers" or config is None or not config.is_file():
                continue
            if b"quantization_config" in config.read_bytes():
                return frozenset()  # packed, so that shapes say nothing
            for file in [place.file] if place.file else config.parent.glob("*"):
                if ends(file, GGUF):
                    return frozenset()
                widths |= read_header(file).widths if ends(file, *SINGLE) else set()
    except (CardError, OSError):
        return frozenset()
    return frozenset(widths)
