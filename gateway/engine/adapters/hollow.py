"""Twins of modules that have their shapes and types and take no memory, to read adapters into."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

_HOOKS = frozenset({"_diffusers_hook", "_hf_hook", "_old_forward", "hf_quantizer"})
"""Where diffusers, accelerate and transformers keep on a module what they do to it."""


def hollow_module(module: nn.Module) -> nn.Module:
    """A module made from another's configuration, without its weights."""
    kind: Any = type(module)
    with torch.device("meta"):
        is_diffusers = hasattr(kind, "load_config")
        hollow: nn.Module = (kind.from_config if is_diffusers else kind)(module.config)
    for part in hollow.modules():
        for name, weight in list(part.named_parameters(recurse=False)):
            part.register_parameter(name, nn.Parameter(_seeming(weight, part), False))
        for name, buffer in list(part.named_buffers(recurse=False)):
            part.register_buffer(name, _seeming(buffer, part))
    return hollow.eval()


def hollow_copy(module: nn.Module) -> nn.Module:
    """A module's own tree once more, to be looked at and not called; it costs 30 us a module.

    Nothing of it leads back: what was put in the place of a module's methods, such as a `to` that
    moves the module itself, stays there, and so do hooks.
    """
    twin = copy.copy(module)
    own = vars(twin)
    for name, value in vars(module).items():
        if name in _HOOKS or callable(getattr(type(module), name, None)):
            del own[name]
        elif "_hooks" in name and isinstance(value, dict):
            own[name] = type(value)()
    own["_parameters"] = {
        name: None if weight is None else nn.Parameter(_seeming(weight, module), False)
        for name, weight in module._parameters.items()
    }
    own["_buffers"] = {
        name: None if buffer is None else _seeming(buffer, module)
        for name, buffer in module._buffers.items()
    }
    own["_modules"] = {
        name: None if inner is None else hollow_copy(inner)
        for name, inner in module._modules.items()
    }
    if "_internal_dict" in own:
        own["_internal_dict"] = copy.copy(own["_internal_dict"])
    return twin


def _seeming(tensor: Tensor, module: Any) -> Tensor:
    """One element seen as many: on the meta device PEFT would leave its own weights there.

    Packed weights seem as wide as their layer, which their own shape hides.
    """
    is_packed = isinstance(module, nn.Linear) and not tensor.is_floating_point()
    shape = (module.out_features, module.in_features) if is_packed else tensor.shape
    return torch.empty(1, dtype=tensor.dtype).expand(shape)
