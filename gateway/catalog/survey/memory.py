"""How much memory the parts of an endpoint take, told by the heads of their files."""

from collections import Counter
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any, Literal, NamedTuple

from gateway.catalog.cards import EndpointCard
from gateway.catalog.heads.endings import GGUF, ends
from gateway.catalog.heads.gguf import read_gguf
from gateway.catalog.heads.headers import CAST, Tensors, read_tensors
from gateway.catalog.heads.layouts import OVER_TIME, section_of, sections_among
from gateway.catalog.sources.parts import Place, files_of_place, places_of
from gateway.catalog.sources.weights import read_index, weights_of

Role = Literal["text", "denoiser", "autoencoder"]
"""What a part does: reads texts (or pictures, to describe them), denoises, or turns latents into
pictures and back."""

Kind = Literal["gpu", "cpu"]
"""Of devices: no CPU computes in half precision, but for bfloat16, which is kept."""

FOUND = "found"
"""A packing that a part's own configs tell."""

PACKED_BYTES = {
    "torchao-int8": 1.0, "torchao-float8": 1.0, "quanto-int8": 1.0, "quanto-float8": 1.0,
    "layerwise-float8": 1.0, "bitsandbytes-int8": 1.0, "bitsandbytes-nf4": 0.55,
}  # fmt: skip
"""Bytes of a number that a card has packed, with its share of what it is scaled by."""


class Weight(NamedTuple):
    """One weight: its shape, and its bytes if loading leaves them as they are, else 0."""

    shape: tuple[int, ...]
    kept_bytes: int

    @property
    def numbers(self) -> int:
        """How many it has."""
        return prod(self.shape)


class Part(NamedTuple):
    """One part's weights, and what its work is measured by.

    `num_floats` are numbers that loading casts to a dtype, `kept_bytes` those of all that it
    leaves as they are. `width` is that of an autoencoder's last layer, and else of what a
    part's layers take; `patch` says how many latents wide a denoiser's positions are, `scale`
    how many pixels wide an autoencoder's latents and `tile` how many its tiles. One that
    `is_deep` works over time as well.
    """

    name: str
    role: Role
    num_floats: int
    kept_bytes: int
    largest: Weight
    dtype: str
    packed: str | None
    width: int
    patch: int
    scale: int
    tile: int
    is_deep: bool

    @property
    def can_stream(self) -> bool:
        """Whether its layers can be brought to a device one by one."""
        return not str(self.packed).startswith(("bitsandbytes", FOUND))

    @property
    def can_shrink(self) -> bool:
        """Whether its weights can be stored in float8."""
        return self.packed is None and self.role != "autoencoder"

    def number_bytes(self, kind: Kind) -> int:
        """Bytes of a number at work."""
        wide = ("float32",) if kind == "gpu" else ("float32", "float16", "auto")
        return 4 if self.dtype in wide else 2

    def size_bytes(self, kind: Kind, *, shrunk: bool = False) -> int:
        """Bytes of all weights, stored in float8 where they can be if `shrunk`."""
        return self.kept_bytes + int(self.num_floats * self._stored_bytes(kind, shrunk))

    def at_hand_bytes(self, kind: Kind, *, streamed: bool, shrunk: bool = False) -> int:
        """Bytes of a layer that is streamed to a device, with the next, or unpacked there."""
        numbers, kept = self.largest.numbers, self.largest.kept_bytes
        stored = kept or int(numbers * self._stored_bytes(kind, shrunk))
        is_unpacked = self.packed is not None or (shrunk and self.can_shrink)
        return 2 * stored * streamed + numbers * self.number_bytes(kind) * is_unpacked

    def _stored_bytes(self, kind: Kind, shrunk: bool) -> float:
        if shrunk and self.can_shrink:
            return PACKED_BYTES["layerwise-float8"]
        return PACKED_BYTES.get(str(self.packed), float(self.number_bytes(kind)))


def parts_of(card: EndpointCard, to_come: Mapping[Path, Tensors] = {}) -> list[Part]:
    """The parts of an endpoint that have weights, as far as they are here.

    `to_come` are heads of files that are not, by where they will lie.

    Raises:
        CardError: a file is not whole.
    """
    found = (_part(card, place, to_come) for place in places_of(card))
    return [part for part in found if part is not None]


def _part(card: EndpointCard, place: Place, to_come: Mapping[Path, Tensors]) -> Part | None:
    files = weights_of(files_of_place(card, place))
    coming = [head for file, head in to_come.items() if file.parent == place.folder]
    weights = {name: weight for file in files for name, weight in _weights(file)}
    weights |= {name: weight for head in coming for name, weight in _told(head)}
    if place.is_single and len(sections_among(weights)) > 1:
        section = section_of(place.name, place.cls)
        weights = {name: one for name, one in weights.items() if section in sections_among([name])}
    if not weights:
        return None
    config: Mapping[str, Any] = read_index(place.folder / "config.json") if place.folder else {}
    role = _role(place)
    width, patch = _MEASURES[role](weights)
    return Part(
        name=place.name,
        role=role,
        num_floats=sum(each.numbers for each in weights.values() if not each.kept_bytes),
        kept_bytes=sum(each.kept_bytes for each in weights.values()),
        largest=max(weights.values(), key=lambda each: each.numbers),
        dtype=_dtype(card, place, config),
        packed=_packing(place, config),
        width=width,
        patch=patch,
        scale=_scale(config),
        tile=_tile(config),
        is_deep=any(len(each.shape) == OVER_TIME for each in weights.values()),
    )


def _weights(file: Path) -> Iterator[tuple[str, Weight]]:
    if ends(file, GGUF):
        for name, one in read_gguf(file).items():
            yield name, Weight(one.shape, one.size_bytes if one.stays else 0)
        return
    yield from _told(read_tensors(file))


def _told(head: Tensors) -> Iterator[tuple[str, Weight]]:
    for name, tensor in head.items():
        yield name, Weight(tensor.shape, 0 if tensor.dtype in CAST else tensor.size_bytes)


def _role(place: Place) -> Role:
    if any(mark in place.cls for mark in ("Autoencoder", "VAE", "VQ")):
        return "autoencoder"
    return "text" if place.library == "transformers" or "Safety" in place.cls else "denoiser"


def _dtype(card: EndpointCard, place: Place, config: Mapping[str, Any]) -> str:
    """Half precision in which an autoencoder overflows is not used."""
    dtype = place.given.dtype or card.dtype
    return "float32" if dtype == "float16" and config.get("force_upcast") else dtype


def _packing(place: Place, config: Mapping[str, Any]) -> str | None:
    if place.file is not None and ends(place.file, GGUF):
        return GGUF
    return place.given.quantized or (FOUND if config.get("quantization_config") else None)


def _ends(weights: Mapping[str, Weight]) -> tuple[int, int]:
    """The widest of the layers that end in the three colours of a pixel."""
    ends = (shape[1] for shape in _convolutions(weights) if shape[0] == 3)
    return max(ends, default=128), 1


def _begins(weights: Mapping[str, Weight]) -> tuple[int, int]:
    """How wide latents become, and how many of them side by side are one position.

    A convolution on latents tells both; without one most layers do, and the pipeline is one that
    packs latents two by two.
    """
    if not (convolutions := [shape for shape in _convolutions(weights) if shape[1] > 1]):
        return _reads(weights)[0], 2
    first = min(convolutions, key=lambda shape: shape[1])
    return first[0], first[-1] if first[-1] % 2 == 0 else 1


def _reads(weights: Mapping[str, Weight]) -> tuple[int, int]:
    """How wide the inputs of most layers are."""
    widths = Counter(one.shape[1] for one in weights.values() if len(one.shape) == 2)
    return max(widths, key=widths.__getitem__, default=1), 1


_MEASURES = {"text": _reads, "denoiser": _begins, "autoencoder": _ends}


def _convolutions(weights: Mapping[str, Weight]) -> list[tuple[int, ...]]:
    return [one.shape for one in weights.values() if len(one.shape) in (4, OVER_TIME)]


def _scale(config: Mapping[str, Any]) -> int:
    """By how many blocks an autoencoder's config says that it halves pictures."""
    for name in ("block_out_channels", "decoder_block_out_channels", "dim_mult"):
        if isinstance(blocks := config.get(name), list | tuple) and blocks:
            return 1 << (len(blocks) - 1)
    return 8


def _tile(config: Mapping[str, Any]) -> int:
    size = config.get("sample_size")
    size = size[0] if isinstance(size, list | tuple) and size else size
    return size if isinstance(size, int) and size > 0 else 512
