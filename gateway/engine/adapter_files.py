"""Reading a LoRA file, in whatever key format diffusers knows, without touching a live model.

diffusers and PEFT load the file into a hollow twin of the pipeline, whose weights take no
memory; what they built there is taken out as plain matrices.
"""

import copy
from pathlib import Path
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from safetensors import SafetensorError
from torch import Tensor, nn

from gateway.catalog.cards import AdapterCard, CardError
from gateway.catalog.headers import OTHER_KINDS
from gateway.catalog.hub import FAULTS, hub_file
from gateway.catalog.weights import PICKLES
from gateway.engine.adapters import AdapterWeights, LayerWeights
from gateway.engine.files import safe_open
from gateway.engine.unusable import reason_of
from gateway.errors import ModelNotFound

NAME = "adapter"


def read_adapter(card: AdapterCard, pipeline: Any, device: torch.device) -> AdapterWeights:
    """An adapter's weights for a pipeline, on its device and in its components' dtypes.

    Call it where modules may be built; see `loading.CONSTRUCTION`.

    Raises:
        ModelNotFound: its file is gone.
        CardError: no such file, not safetensors, or not a LoRA that fits this pipeline.
    """
    path = adapter_file(card)
    _check(card, path)
    if not hasattr(pipeline, "load_lora_weights"):
        raise CardError(f"{type(pipeline).__name__} takes no LoRA", card.path)
    twin = _hollow(pipeline)
    try:
        twin.load_lora_weights(str(path.parent), weight_name=path.name, adapter_name=NAME)
    except (ValueError, RuntimeError, LookupError, TypeError) as error:
        raise CardError(f"not a LoRA for '{card.endpoint}': {error}", path) from error
    weights = {
        key: _layer_weights(path, layer, pipeline.components[key[0]], device)
        for key, layer in _lora_layers(twin)
    }
    if not weights:
        raise CardError(f"holds no LoRA weights for '{card.endpoint}'", path)
    return weights


def size_bytes(weights: AdapterWeights) -> int:
    """Bytes of an adapter's weights."""
    return sum(
        tensor.numel() * tensor.element_size() for layer in weights.values() for tensor in layer
    )


def adapter_file(card: AdapterCard) -> Path:
    """The file of an adapter, fetched from the hub where it is not here.

    Raises:
        ModelNotFound: it was here.
        CardError: it cannot be fetched, or is a pickle.
    """
    name = card.weight_name or "pytorch_lora_weights.safetensors"
    local = card.file
    if local is None and card.source.endswith(".safetensors"):
        raise ModelNotFound(f"The file of the adapter `{card.id}` is no longer there.")
    if local is not None:
        path = local / name if local.is_dir() else local
    else:
        path = _fetched(card, name)
    if path.suffix in PICKLES:
        raise CardError(f"{path.name}: pickled weights are refused; wanted .safetensors", path)
    return path


def _fetched(card: AdapterCard, name: str) -> Path:
    if name.endswith(PICKLES):
        raise CardError(f"{card.source}/{name}: pickled weights are refused; wanted .safetensors")
    try:
        return hub_file(card.source, name, card.revision)
    except FAULTS as error:
        raise CardError(
            f"cannot fetch '{card.source}' {name}: {reason_of(error)}", card.path
        ) from error


def _check(card: AdapterCard, path: Path) -> None:
    try:
        with safe_open(path, "pt") as file:
            names = list(file.keys())
    except (SafetensorError, OSError) as error:
        raise CardError(f"not a safetensors file: {error}", path) from error
    for mark, kind in OTHER_KINDS.items():
        if any(mark in name for name in names):
            raise CardError(f"{kind} weights cannot share a batch; wanted a plain LoRA", path)


def _hollow(pipeline: Any) -> Any:
    """A copy of a pipeline whose LoRA-capable modules have shapes and types but no weights."""
    twin = copy.copy(pipeline)
    for name in pipeline._lora_loadable_modules:
        module = getattr(pipeline, name, None)
        if isinstance(module, nn.Module):
            # Not by setattr, which would rewrite the shared pipeline's config.
            vars(twin)[name] = _hollow_module(module)
    return twin


def _hollow_module(module: nn.Module) -> nn.Module:
    kind: Any = type(module)
    with torch.device("meta"):
        is_diffusers = hasattr(kind, "load_config")
        hollow: nn.Module = (kind.from_config if is_diffusers else kind)(module.config)
    for part in hollow.modules():
        for name, weight in list(part.named_parameters(recurse=False)):
            part.register_parameter(name, nn.Parameter(_seeming(weight), requires_grad=False))
        for name, buffer in list(part.named_buffers(recurse=False)):
            part.register_buffer(name, _seeming(buffer))
    return hollow.eval()


def _seeming(tensor: Tensor) -> Tensor:
    """One element seen as many: on the meta device PEFT would leave its own weights there."""
    return torch.empty(1, dtype=tensor.dtype).expand(tensor.shape)


def _lora_layers(twin: Any) -> list[tuple[tuple[str, str], Any]]:
    return [
        ((component, path), layer)
        for component in twin._lora_loadable_modules
        if isinstance(module := getattr(twin, component, None), nn.Module)
        for path, layer in module.named_modules()
        if isinstance(layer, LoraLayer) and NAME in layer.scaling
    ]


def _layer_weights(path: Path, layer: Any, component: Any, device: torch.device) -> LayerWeights:
    base = layer.get_base_layer()
    is_plain = isinstance(base, nn.Linear) or (isinstance(base, nn.Conv2d) and base.groups == 1)
    has_bias = NAME in layer.lora_B and layer.lora_B[NAME].bias is not None
    if not is_plain or has_bias or layer.use_dora.get(NAME, False):
        raise CardError(f"a layer of {type(base).__name__} cannot be changed in a batch", path)
    down, up = layer.lora_A[NAME].weight, layer.lora_B[NAME].weight
    if not (down.isfinite().all() and up.isfinite().all()):
        raise CardError("holds numbers that are not finite", path)
    dtype = component.dtype
    return LayerWeights(
        down.detach().to(device, dtype), (up.detach() * layer.scaling[NAME]).to(device, dtype)
    )
