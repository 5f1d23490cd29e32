"""Textual inversions: words whose vectors are a file's, for the prompts that name them alone.

The words go into copies of the tokenizers, which only samples get that say them; diffusers'
own conversion of prompts does the rest. Their ids lie beyond the text encoders' own, are never
given twice, and are looked up in a table beside the encoder's.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from tokenizers import AddedToken
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from gateway.catalog.cards import CardError, EmbeddingCard
from gateway.catalog.heads.kinds import BUNDLED
from gateway.catalog.survey.adapters import BundledCard
from gateway.engine.pipelines.reading import set_aside
from gateway.engine.weights.files import safe_open

ENCODERS = ("text_encoder", "text_encoder_2")
"""The encoders that words may be learned for; the tokenizer of each is named alike."""

_KEYS = {
    "clip_l": "text_encoder", "text_encoders_0": "text_encoder",
    "clip_g": "text_encoder_2", "text_encoders_1": "text_encoder_2",
}  # fmt: skip
"""What trainers call the vectors of each encoder, where there are several."""


class Embedding(NamedTuple):
    """A word, and its vectors `[number, width]` for each encoder that it was learned for."""

    word: str
    vectors: Mapping[str, Tensor]

    @property
    def size_bytes(self) -> int:
        """Bytes of its vectors."""
        return sum(each.numel() * each.element_size() for each in self.vectors.values())


def read_embedding(card: EmbeddingCard, pipeline: Any, device: torch.device) -> Embedding:
    """An embedding for a pipeline's text encoders.

    Raises:
        CardError: it is none, or not for such encoders.
    """
    tensors = _tensors(card)
    encoders: dict[str, Any] = {
        name: encoder
        for name in ENCODERS
        if isinstance(encoder := pipeline.components.get(name), nn.Module)
    }
    widths = {
        name: encoder.get_input_embeddings().weight.shape[1] for name, encoder in encoders.items()
    }
    vectors: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if tensor.ndim == 0:  # a step, a token's number
            continue
        rows = tensor[None] if tensor.ndim == 1 else tensor
        meant = _KEYS.get(name) or next(iter(widths), None)
        if meant is None or rows.ndim != 2 or rows.shape[1] != widths.get(meant):
            raise CardError(
                f"'{name}' is no word of '{card.endpoint}', whose text encoders are "
                f"{', '.join(map(str, widths.values())) or 'none'} wide",
                card.path,
            )
        if meant in vectors or not len(rows):
            what = "is a second word" if len(rows) else "has no vectors"
            raise CardError(f"'{name}' {what}", card.path)
        if not rows.isfinite().all():
            raise CardError("holds numbers that are not finite", card.path)
        vectors[meant] = rows.to(device, encoders[meant].dtype)
    if not vectors:
        raise CardError("holds no vectors", card.path)
    return Embedding(card.route, vectors)


def _tensors(card: EmbeddingCard) -> dict[str, Tensor]:
    """The tensors of a word's file, or those of a word in a file of others."""
    start = f"{BUNDLED}{card.route}." if isinstance(card, BundledCard) else ""
    try:
        with safe_open(card.place, "pt") as file:
            names = [name for name in file.keys() if name.startswith(start)]  # noqa: SIM118
            return {name.removeprefix(start): file.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as error:
        raise CardError(f"not a safetensors file: {error}", card.path) from error


class Embeddings:
    """The embeddings in memory for one pipeline, by the names they have there."""

    def __init__(self, components: Mapping[str, Any]) -> None:
        self._tables = {
            name: _Table(components[name].get_input_embeddings(), components[_tokenizer(name)])
            for name in ENCODERS
            if isinstance(components.get(name), nn.Module)
            and isinstance(components.get(_tokenizer(name)), PreTrainedTokenizerBase)
        }
        self._known: dict[str, Embedding] = {}

    @property
    def names(self) -> list[str]:
        """Those in memory."""
        return list(self._known)

    def add(self, name: str, embedding: Embedding) -> None:
        """Have prompts that say its word mean it."""
        self._known[name] = embedding
        for encoder, vectors in embedding.vectors.items():
            self._tables[encoder].add(name, embedding.word, vectors)

    def drop(self, name: str) -> None:
        """Forget an embedding."""
        for encoder in self._known.pop(name).vectors:
            self._tables[encoder].drop(name)

    def around(self, pipeline: Any, names: Sequence[str]) -> Any:
        """A pipeline whose tokenizers know some words, and that is otherwise the same."""
        if not names:
            return pipeline
        own = copy.copy(pipeline)
        for encoder, table in self._tables.items():
            # Not by setattr, which would write the pipeline's config anew.
            vars(own)[_tokenizer(encoder)] = table.tokenizer(names)
        return own


class _Table:
    """The vectors of words that one encoder has not learned itself."""

    def __init__(self, layer: nn.Module, tokenizer: Any) -> None:
        self._layer = layer
        self._tokenizer = tokenizer
        self._first = len(tokenizer)
        self._words: list[tuple[str, str, Tensor] | None] = []
        self._tokenizers: dict[tuple[str, ...], Any] = {}
        self._hooks: list[Any] = []
        self._ids: Tensor | None = None

    def add(self, name: str, word: str, vectors: Tensor) -> None:
        spelt = [word, *(f"{word}_{number}" for number in range(1, len(vectors)))]
        self._words += [(name, each, row) for each, row in zip(spelt, vectors, strict=True)]
        if not self._hooks:
            self._hooks = [
                self._layer.register_forward_pre_hook(self._hide),
                self._layer.register_forward_hook(self._fill),
            ]

    def drop(self, name: str) -> None:
        self._words = [None if one and one[0] == name else one for one in self._words]
        self._tokenizers = {key: one for key, one in self._tokenizers.items() if name not in key}
        if not any(self._words):
            for hook in self._hooks:
                hook.remove()
            self._hooks = []

    def tokenizer(self, names: Sequence[str]) -> Any:
        """A tokenizer that knows the words of some names, each at the id that is its own."""
        key = tuple(names)
        if key not in self._tokenizers:
            own = copy.deepcopy(self._tokenizer)
            tokens = [
                AddedToken(one[1] if one and one[0] in key else f"<|{place}|>", single_word=True)
                for place, one in enumerate(self._words)
            ]
            own.add_tokens(tokens)
            set_aside(own)
            self._tokenizers[key] = own
        return self._tokenizers[key]

    def _hide(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        ids = inputs[0]
        self._ids = ids if bool((ids >= self._first).any()) else None
        return None if self._ids is None else (ids.where(ids < self._first, 0), *inputs[1:])

    def _fill(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        ids, self._ids = self._ids, None
        if ids is None:
            return None
        filled = output.clone()
        for place, one in enumerate(self._words):
            if one is not None:
                filled[ids == self._first + place] = one[2].to(output.dtype)
        return filled


def _tokenizer(encoder: str) -> str:
    return encoder.replace("text_encoder", "tokenizer")
