"""File names of checkpoints and LoRAs in a graph, and what they mean in the catalogue."""

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

import msgspec

from gateway.catalog.cards import AdapterCard, ControlCard, EndpointCard
from gateway.catalog.catalog import Catalog
from gateway.catalog.heads.endings import PICKLES, SINGLE, ends

FLOW_CLIPS = frozenset({"flux", "flux2", "sd3", "chroma", "lumina2", "qwen_image"})
_FLOW_WORDS = ("flux", "stable-diffusion-3", "sd3", "qwen", "z-image", "zimage", "lumina")
_FLOW_WORDS_OF_PIPELINES = (*_FLOW_WORDS, "stablediffusion3", "chroma", "sana")

_PINNED = re.compile(r"(.+)@(\w+)", re.DOTALL)


def unpinned(name: str) -> tuple[str, str | None]:
    """A file's name, and the digest of its weights that is asked for behind an `@`."""
    pinned = _PINNED.fullmatch(name)
    return (pinned[1], pinned[2].lower()) if pinned else (name, None)


def endpoints_named(catalog: Catalog, name: str) -> tuple[EndpointCard, ...]:
    """The endpoints a checkpoint's file name may mean: by a card's alias, else by its stem."""
    file = _file(name)
    cards = catalog.endpoints.values()
    found = tuple(card for card in cards if file in map(_file, card.aliases))
    return found or tuple(card for card in cards if _plain(card.id) in (_stem(file), _plain(name)))


def checkpoint_names(cards: Iterable[EndpointCard]) -> list[str]:
    """The file names that mean one of these endpoints."""
    return [name for card in cards for name in (card.aliases or (card.id,))]


def adapter_named(catalog: Catalog, card: EndpointCard, name: str) -> AdapterCard | None:
    """The adapter of an endpoint that a LoRA's file name means."""
    file = _file(name)
    adapters = [catalog.adapters[card.id, route] for route in catalog.routes(card.id)]
    by_alias = (adapter for adapter in adapters if file in map(_file, adapter.aliases))
    by_stem = (a for a in adapters if _plain(a.route) == _stem(file) or a.id == name)
    return next(by_alias, None) or next(by_stem, None)


def control_named(catalog: Catalog, card: EndpointCard, name: str) -> ControlCard | None:
    """The ControlNet of an endpoint that a file's name means."""
    own = (catalog.controls[card.id, route] for route in catalog.controls_of(card.id))
    return next((one for one in own if _plain(one.route) == _stem(_file(name))), None)


def is_fused(card: EndpointCard, name: str) -> float | None:
    """The scale at which a LoRA's file is fused into an endpoint's weights, or None."""
    stem = _stem(_file(name))
    for lora in card.fused:
        own = {_plain(PurePosixPath(lora.source).name)}
        if lora.weight_name:
            own.add(_stem(lora.weight_name))
        if stem in own:
            return lora.scale
    return None


def lora_names(catalog: Catalog, cards: Iterable[EndpointCard]) -> list[str]:
    """The LoRA names that some of these endpoints have."""
    return [
        name
        for card in cards
        for route in catalog.routes(card.id)
        for name in (catalog.adapters[card.id, route].aliases or (route,))
    ]


def is_xl(card: EndpointCard) -> bool:
    """Whether the endpoint is of the SDXL family, which skips one CLIP layer of itself."""
    named = f"{card.id} {card.source} {card.pipeline or ''}".lower()
    return "xl" in named or _local_class(card, "text_encoder_2") is not None


def _local_class(card: EndpointCard, component: str) -> str | None:
    """The class of a component in a local `model_index.json`."""
    index = card.folder / card.source / "model_index.json"
    if not index.is_file():
        return None
    entry = msgspec.json.decode(index.read_bytes(), type=dict[str, object]).get(component)
    return entry[1] if isinstance(entry, list) and len(entry) == 2 else None


def _file(name: str) -> str:
    """The last part of a path, of either kind of slash."""
    return name.replace("\\", "/").rsplit("/", 1)[-1]


def _stem(file: str) -> str:
    return _plain(file.rpartition(".")[0] if ends(file, *SINGLE, *PICKLES) else file)


def _plain(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-").replace("/", "-")
