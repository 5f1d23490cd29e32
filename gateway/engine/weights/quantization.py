"""How weights are kept packed in memory, through the packages that do it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import diffusers
import torch
import transformers
from diffusers.hooks import apply_layerwise_casting
from torch import nn

from gateway.catalog.cards import Quantization

STORED = torch.float8_e4m3fn
"""What weights that are cast for each layer's work are kept in between."""


class Wanted(NamedTuple):
    """A packing of a model class's weights, which compute in a dtype."""

    library: Any
    dtype: torch.dtype


def packing(quantized: Quantization | None, kind: Any, dtype: torch.dtype) -> Any:
    """The configuration that a model class's loading takes; None where it takes none."""
    make = PACKINGS.get(str(quantized))
    is_of_transformers = issubclass(kind, transformers.PreTrainedModel)
    return make(Wanted(transformers if is_of_transformers else diffusers, dtype)) if make else None


def packed_file(dtype: torch.dtype) -> Any:
    """The configuration of a model in GGUF's packing."""
    return diffusers.GGUFQuantizationConfig(compute_dtype=dtype)


def store_packed(quantized: Quantization | None, module: nn.Module, dtype: torch.dtype) -> None:
    """Keep a loaded module's weights packed between its layers' work, where that is wanted."""
    if quantized != "layerwise-float8":
        return
    if isinstance(module, diffusers.ModelMixin):
        module.enable_layerwise_casting(storage_dtype=STORED, compute_dtype=dtype)
    else:
        # Of what it keeps wide, a model looks at the dtype to cast what it passes on.
        wide = getattr(module, "_keep_in_fp32_modules", None) or ()
        apply_layerwise_casting(
            module, STORED, dtype, ("norm", "embed", *wide), (nn.Embedding,)
        )  # an embedding may be two modules' own


def _torchao(name: str) -> Callable[[Wanted], Any]:
    def make(wanted: Wanted) -> Any:
        from torchao import quantization  # noqa: PLC0415  an extra

        return wanted.library.TorchAoConfig(getattr(quantization, name)())

    return make


def _quanto(weights: str) -> Callable[[Wanted], Any]:
    def make(wanted: Wanted) -> Any:
        key = "weights" if wanted.library is transformers else "weights_dtype"
        return wanted.library.QuantoConfig(**{key: weights})

    return make


def _nf4(wanted: Wanted) -> Any:
    return wanted.library.BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=wanted.dtype
    )


def _int8(wanted: Wanted) -> Any:
    return wanted.library.BitsAndBytesConfig(load_in_8bit=True)


PACKINGS: dict[str, Callable[[Wanted], Any]] = {
    "torchao-int8": _torchao("Int8WeightOnlyConfig"),
    "torchao-float8": _torchao("Float8WeightOnlyConfig"),
    "quanto-int8": _quanto("int8"),
    "quanto-float8": _quanto("float8"),
    "bitsandbytes-nf4": _nf4,
    "bitsandbytes-int8": _int8,
}
