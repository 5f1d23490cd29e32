"""Pickled weights made safetensors, once: read by torch's loader that runs no code of theirs."""

import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from gateway.catalog.cards import CardError
from gateway.catalog.heads.endings import PICKLES, WEIGHTS, ends

WRAPPERS = ("state_dict", "model_state_dict", "params_ema", "params", "model", "module")
"""Keys under which trainers keep a model's weights, beside what they need to go on."""

EMBEDDING = "string_to_param"
"""Where textual inversions have their one tensor; its name in a safetensors file follows."""

EMBEDDING_NAME = "emb_params"


def convert(source: Path, target: Path | None = None) -> Path:
    """Write a pickle's weights beside it as safetensors; returns where.

    Raises:
        CardError: it is no pickle of weights and nothing else, or the target exists.
    """
    if not ends(source, *PICKLES):
        raise CardError(f"wanted a file that ends in {', '.join(PICKLES)}", source)
    target = target or source.with_suffix(WEIGHTS)
    if target.exists():
        raise CardError(f"{target.name} is there already", source)
    weights = _weights(_read(source))
    if not weights:
        raise CardError("holds no weights", source)
    partial = target.with_name(f"{target.name}.partial")
    try:
        save_file(weights, partial, {"format": "pt"})
        partial.rename(target)
    finally:
        partial.unlink(missing_ok=True)
    return target


def _read(source: Path) -> Any:
    try:
        return torch.load(source, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CardError("is not there", source) from None
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError, LookupError) as error:
        fault = f"holds more than weights, or none; nothing was run: {error}".partition("\n")[0]
        raise CardError(fault, source) from None


def _weights(found: Any) -> dict[str, Tensor]:
    """The tensors of a pickle by name, each with memory of its own, without what is around them."""
    while isinstance(found, dict) and (key := _wrapper(found)):
        found = found[key]
    if not isinstance(found, dict):
        return {}
    if isinstance(inner := found.get(EMBEDDING), dict):
        found = {EMBEDDING_NAME: next(iter(inner.values()), None)}
    return {
        str(name): tensor.detach().clone().contiguous()
        for name, tensor in found.items()
        if isinstance(tensor, Tensor)
    }


def _wrapper(found: dict[Any, Any]) -> str | None:
    return next((key for key in WRAPPERS if isinstance(found.get(key), dict)), None)
