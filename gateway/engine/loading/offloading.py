"""A pipeline's modules placed as its plan says: on the device, or streamed to it layer by layer.

All that changes a module is done here, before samples share it: hooks stay for good.
"""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

import torch
from diffusers.hooks import HookRegistry, ModelHook, apply_group_offloading
from diffusers.hooks.group_offloading import GroupOffloadingHook
from torch import nn

from gateway.catalog.cards import EndpointCard
from gateway.catalog.survey.fitting import Plan
from gateway.engine.weights.quantization import store_packed

HOST = torch.device("cpu")


def place(card: EndpointCard, pipeline: Any, device: torch.device, plan: Plan | None) -> None:
    """Put a pipeline's modules where a plan wants them, or its card where there is none."""
    modules = {
        name: part for name, part in pipeline.components.items() if isinstance(part, nn.Module)
    }
    for name in plan.shrunk & modules.keys() if plan else ():
        store_packed("layerwise-float8", modules[name], _dtype_of(modules[name]))
    streamed = plan.streamed if plan else _wanted(card, modules, device)
    if card.offload == "model" and device.type != "cpu":
        pipeline.enable_model_cpu_offload(device=device)
    elif not streamed:
        pipeline.to(device)
    else:
        for name, module in modules.items():
            if name in streamed:
                _stream(module, device)
            elif not getattr(module, "is_loaded_in_8bit", False):  # is where it can be
                module.to(device)


def at_work_bytes(modules: Iterable[nn.Module]) -> int:
    """Bytes of weights that stay on the device, and of the largest layers of those streamed."""
    stay, streamed = 0, 0
    for module in modules:
        sizes = [bytes_of(tensor) for tensor in chain(module.parameters(), module.buffers())]
        if is_streamed(module):
            streamed = max(streamed, 2 * max(sizes, default=0))
        else:
            stay += sum(sizes)
    return stay + streamed


def is_streamed(module: nn.Module) -> bool:
    """Whether a module's layers come to the device one by one."""
    return any(isinstance(hook, GroupOffloadingHook) for hook in _hooks(module))


def has_hooks(module: nn.Module) -> bool:
    """Whether something is done around a module's layers, so that they are not compiled."""
    return any(True for _ in _hooks(module))


def bytes_of(tensor: Any) -> int:
    """Bytes of a tensor, or of those that it is packed in."""
    if hasattr(tensor, "__tensor_flatten__"):
        names, _ = tensor.__tensor_flatten__()
        return sum(bytes_of(getattr(tensor, name)) for name in names)
    return int(tensor.numel() * tensor.element_size())


def _hooks(module: nn.Module) -> Iterator[ModelHook]:
    for inner in module.modules():
        registry: HookRegistry | None = getattr(inner, "_diffusers_hook", None)
        yield from registry.hooks.values() if registry is not None else ()


def _wanted(card: EndpointCard, modules: Iterable[str], device: torch.device) -> frozenset[str]:
    is_group = card.offload == "group" and device.type != "cpu"
    return frozenset(modules) if is_group else frozenset()


def _stream(module: nn.Module, device: torch.device) -> None:
    """Have each layer come when it is called, and go; on a GPU the next one comes meanwhile.

    Those that go wait for their layer's work, so that no more than two are there at once.
    """
    apply_group_offloading(
        module,
        onload_device=device,
        offload_device=HOST,
        offload_type="leaf_level",
        use_stream=device.type == "cuda",
    )


def _dtype_of(module: nn.Module) -> torch.dtype:
    """What a module computes in."""
    return next(each.dtype for each in module.parameters() if each.is_floating_point())
