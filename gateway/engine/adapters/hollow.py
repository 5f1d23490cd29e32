"""Twins of modules that have their shapes and types and take no memory, to read adapters into."""

import copy
from typing import Any

import torch
from torch import Tensor, nn


def hollow_pipeline(pipeline: Any) -> Any:
    """A copy of a pipeline whose LoRA-capable modules have shapes and types but no weights."""
    twin = copy.copy(pipeline)
    for name in pipeline._lora_loadable_modules:
        module = getattr(pipeline, name, None)
        if isinstance(module, nn.Module):
            # Not by setattr, which would rewrite the shared pipeline's config.
            vars(twin)[name] = hollow_module(module)
    return twin


def hollow_module(module: nn.Module) -> nn.Module:
    """A module made from another's configuration, without its weights."""
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
