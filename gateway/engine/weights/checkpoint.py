"""A single file's weights as a dict of which nothing is in memory before it is asked for.

diffusers' conversions rename, split and join what they are given as a dict. Given one that
reads, a model takes no more memory on its way than itself and what is being converted.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from gateway.catalog.cards import CardError
from gateway.catalog.heads.endings import GGUF, ends
from gateway.catalog.heads.gguf import BLOCKS, PLAIN, read_gguf
from gateway.engine.weights.files import safe_open

SCALES = ("scale_weight", "weight_scale")
"""What a scaled weight is multiplied by is called, instead of `weight`, in either spelling."""

ASIDE = (*SCALES, "scale_input", "input_scale", "scaled_fp8", "comfy_quant")
"""How names end that are of a way to scale and no weights of a model."""

_PLAIN_DTYPES = dict(zip(PLAIN, (torch.float32, torch.float16), strict=True))
FLOAT8 = (torch.float8_e4m3fn, torch.float8_e5m2)

Shapes = Mapping[str, tuple[int, ...]]


class WeightFile(Protocol):
    """A file of weights, which it reads one by one."""

    shapes: Shapes

    def read(self, name: str) -> Tensor:
        """A weight as it is to be used."""


class Unread(NamedTuple):
    """The place of a weight that nobody has asked for, by its name in the file."""

    name: str


class Checkpoint(dict[str, Any]):
    """Weights of a file, each read anew whenever it is taken; `names` are theirs in the file."""

    def __init__(self, file: WeightFile, names: Mapping[str, str]) -> None:
        super().__init__({shown: Unread(name) for shown, name in names.items()})
        self._file = file
        self._names = names

    def __getitem__(self, name: str) -> Any:
        value = super().__getitem__(name)
        return self._file.read(value.name) if isinstance(value, Unread) else value

    def get(self, name: str, default: Any = None) -> Any:
        """A weight, or the default where there is none."""
        try:
            return self[name]
        except KeyError:
            return default

    def pop(self, name: str, *default: Any) -> Any:
        """Take a weight out."""
        if name not in self and default:
            return default[0]
        value = self[name]
        del self[name]
        return value

    def __iter__(self) -> Iterator[str]:
        """Said here, since else a copy would be of what is behind."""
        return super().__iter__()

    def items(self) -> Any:
        """Names and weights, one at a time."""
        return ((name, self[name]) for name in list(self))

    def values(self) -> Any:
        """Weights, one at a time."""
        return (self[name] for name in list(self))

    def part(self, shown: Callable[[str], str | None]) -> "Checkpoint":
        """The same under other names, without those that have none."""
        names = {new: name for old, name in self._names.items() if (new := shown(old))}
        return Checkpoint(self._file, names)

    def sketch(self) -> dict[str, Tensor]:
        """The same with shapes and no numbers."""
        shapes = self._file.shapes
        return {
            shown: torch.empty(shapes[name], device="meta") for shown, name in self._names.items()
        }

    @property
    def is_packed(self) -> bool:
        """Whether weights stay packed as they are in the file."""
        return isinstance(self._file, _Packed)


def opened(path: Path, dtype: torch.dtype) -> Checkpoint:
    """A single file's weights; those it has scaled come in a dtype.

    Raises:
        CardError: it is no whole file.
    """
    file: WeightFile = _Packed(path, dtype) if ends(path, GGUF) else _Plain(path, dtype)
    return Checkpoint(file, {name: name for name in file.shapes})


class _Plain:
    """A safetensors file; what is scaled in it, as ComfyUI does, comes as it is meant."""

    def __init__(self, path: Path, dtype: torch.dtype) -> None:
        self._path = path
        self._dtype = dtype
        self._file = safe_open(path)
        self._names = dict.fromkeys(self._file.keys())  # in order, and found at once
        heads = {name: self._file.get_slice(name) for name in self._names}
        self.shapes: Shapes = {
            name: tuple(head.get_shape())
            for name, head in heads.items()
            if name.rpartition(".")[2] not in ASIDE
        }

    def read(self, name: str) -> Tensor:
        """A weight: what is scaled is multiplied, and no float8 stays, in which none computes."""
        weight: Tensor = self._file.get_tensor(name)
        stem, _, end = name.rpartition("weight")
        scale = next((f"{stem}{each}" for each in SCALES if f"{stem}{each}" in self._names), None)
        if end or scale is None:
            return weight.to(self._dtype) if weight.dtype in FLOAT8 else weight
        if weight.dtype not in (*FLOAT8, torch.int8):
            packed = self._packing(f"{stem}comfy_quant") or weight.dtype
            raise CardError(f"{name}: packed as {packed}, which is not read", self._path)
        factor = self._file.get_tensor(scale).float()
        return weight.float().mul_(_beside(factor, weight)).to(self._dtype)

    def _packing(self, mark: str) -> str | None:
        if mark not in self._names:
            return None
        return str(json.loads(bytes(self._file.get_tensor(mark).tolist())).get("format"))


class _Packed:
    """A GGUF file, of which matrices stay packed; diffusers unpacks them at work."""

    def __init__(self, path: Path, dtype: torch.dtype) -> None:
        self._path = path
        self._dtype = dtype
        self._heads = read_gguf(path)
        self.shapes: Shapes = {name: head.shape for name, head in self._heads.items()}

    def read(self, name: str) -> Tensor:
        """A weight, packed as it is unless no linear layer takes it so."""
        import gguf  # noqa: PLC0415  an extra
        from diffusers.quantizers.gguf import utils  # noqa: PLC0415  imports it

        head = self._heads[name]
        kind = gguf.GGMLQuantizationType(head.kind)
        if head.kind not in BLOCKS:
            raise CardError(f"{name}: packed as {kind.name}, which is not read", self._path)
        with self._path.open("rb") as file:
            file.seek(head.start)
            packed = bytearray(file.read(head.size_bytes))
        if len(packed) < head.size_bytes:
            raise CardError(f"not a whole GGUF file: {name} is cut short", self._path)
        numbers = torch.frombuffer(packed, dtype=torch.uint8)
        if head.kind in PLAIN:
            return numbers.view(_PLAIN_DTYPES[head.kind]).view(head.shape)
        _, block_bytes = BLOCKS[head.kind]
        rows = head.shape[0] if head.stays else head.size_bytes // block_bytes
        found: Tensor = utils.GGUFParameter(numbers.view(rows, -1), quant_type=kind)
        return found if head.stays else unpacked(found).to(self._dtype).view(head.shape)


def unpacked(weight: Tensor) -> Tensor:
    """A packed weight's numbers, as they are at work."""
    from diffusers.quantizers.gguf import utils  # noqa: PLC0415  imports an extra

    numbers: Tensor = utils.dequantize_gguf_tensor(weight)
    return numbers


def _beside(factor: Tensor, weight: Tensor) -> Tensor:
    """A scale of all of a weight, or of each of its rows, so that they can be multiplied."""
    if factor.ndim == 1 and factor.numel() == weight.shape[0]:
        return factor.view(-1, *(1,) * (weight.ndim - 1))
    return factor
