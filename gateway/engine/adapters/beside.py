"""What lies in memory beside an endpoint's pipeline, by name: LoRAs, ControlNets, embeddings."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gateway.catalog.cards import AdapterCard, ControlCard, EmbeddingCard
from gateway.engine.adapters import adapter_files
from gateway.engine.adapters.adapters import Adapters, AdapterWeights
from gateway.engine.adapters.controls import Controls, read_control
from gateway.engine.adapters.embeddings import Embedding, Embeddings, read_embedding
from gateway.engine.adapters.pictured import ImagePrompt
from gateway.engine.adapters.slots import SlottedAdapters
from gateway.engine.pipelines.parking import Entry
from gateway.errors import ModelNotFound
from gateway.job import ControlUse

Found = AdapterWeights | Embedding | ImagePrompt | nn.Module
"""A LoRA's or another adapter's weights, a textual inversion, an IP-Adapter, or a ControlNet."""


def read_beside(card: AdapterCard, pipeline: Any, device: torch.device) -> Found:
    """Read what a card names, for a pipeline and on its device.

    Raises:
        ModelNotFound: its file is gone.
        CardError: it cannot be used, and why.
    """
    match card:
        case ControlCard():
            return read_control(card, pipeline, device)
        case EmbeddingCard():
            return read_embedding(card, pipeline, device)
        case _:
            return adapter_files.read_adapter(card, pipeline, device)


def builds_modules(card: AdapterCard) -> bool:
    """Whether reading what a card names builds modules."""
    match card:
        case ControlCard():
            return True
        case EmbeddingCard():
            return False
        case _:
            return adapter_files.builds_modules(card)


def files_beside(card: AdapterCard) -> list[Path]:
    """The files that a card's thing is read from, fetched where they are not here.

    Raises:
        ModelNotFound: they were here.
        CardError: they cannot be fetched.
    """
    if not isinstance(card, ControlCard | EmbeddingCard):
        return adapter_files.adapter_files(card)
    if not card.place.exists():
        raise ModelNotFound(f"The file of `{card.id}` is no longer there.")
    return sorted(card.place.glob("[!.]*")) if card.place.is_dir() else [card.place]


def size_bytes(found: Found) -> int:
    """Bytes of it in memory."""
    match found:
        case AdapterWeights():
            return adapter_files.size_bytes(found)
        case Embedding() | ImagePrompt():
            return found.size_bytes
        case _:
            return sum(one.numel() * one.element_size() for one in found.parameters())


def rank_of(found: Found) -> int:
    """The largest rank of its low-rank changes, 0 where it has none."""
    if not isinstance(found, AdapterWeights):
        return 0
    return max((layer.down.shape[0] for layer in found.low_rank.values()), default=0)


class Beside:
    """What is in memory beside one pipeline, some of whose components may be compiled."""

    def __init__(self, components: dict[str, Any], compiled: Collection[str] = ()) -> None:
        self.adapters = SlottedAdapters(components, compiled) if compiled else Adapters(components)
        self._controls = Controls()
        self._embeddings = Embeddings(components)

    @property
    def names(self) -> list[str]:
        """All of it."""
        return [*self.adapters.routes, *self._controls.names, *self._embeddings.names]

    def add(self, name: str, found: Found) -> None:
        """Keep something under a name."""
        match found:
            case AdapterWeights():
                self.adapters.add(name, found)
            case Embedding():
                self._embeddings.add(name, found)
            case _:
                self._controls.add(name, found)

    def drop(self, name: str) -> list[Entry]:
        """Forget it; returns the entry points that are no more."""
        if name in self.adapters.routes:
            self.adapters.drop(name)
        elif name in self._embeddings.names:
            self._embeddings.drop(name)
        else:
            return self._controls.drop(name)
        return []

    def around(
        self, pipeline: Any, names: Sequence[str], uses: Sequence[ControlUse] = ()
    ) -> Any:
        """A pipeline with those of some names that a pipeline has to know.

        `uses` are how the ControlNets and IP-Adapters among them are used, in their order.

        Raises:
            UnsupportedValue: its family takes no ControlNets, or not several.
        """
        controls = [name for name in names if name in self._controls.names]
        words = [name for name in names if name in self._embeddings.names]
        if controls:
            pipeline = self._controls.around(pipeline, controls, uses)
        return self._embeddings.around(pipeline, words)
