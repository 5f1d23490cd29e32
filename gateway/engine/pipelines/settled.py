"""Facts of a module that stay as they are while it is loaded: found once, then told.

diffusers and transformers walk a model's whole tree each time that a pipeline asks where it
is, of what numbers, or where its inputs should be: 7 ms of each SDXL picture.
"""

import functools
import sys
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
import transformers
from diffusers import ModelMixin
from diffusers.utils import torch_utils
from torch import nn

FACTS = "_settled_facts"
_EXECUTION_DEVICE = "get_module_execution_device"
_execution_device = torch_utils.get_module_execution_device


class Facts(NamedTuple):
    """`device` is None where a module is moved to and fro."""

    device: torch.device | None
    dtype: torch.dtype | None
    execution_device: torch.device


def settle(modules: Iterable[nn.Module]) -> None:
    """Find the facts of modules once; they are asked as before."""
    _tell()
    for module in modules:
        if any(True for _ in module.parameters()):
            execution_device = _execution_device(module)
            device = getattr(module, "device", None)
            vars(module)[FACTS] = Facts(
                device if device == execution_device else None,
                getattr(module, "dtype", None),
                execution_device,
            )


def unsettle(modules: Iterable[nn.Module]) -> None:
    """Have modules say what they are as they did before."""
    for module in modules:
        vars(module).pop(FACTS, None)


def _tell() -> None:
    """Have what asks for facts be told them; pipelines are imported when they are loaded."""
    for kind in (ModelMixin, transformers.PreTrainedModel):
        _tell_attributes(kind)
    for name, imported in list(sys.modules.items()):
        names = vars(imported) if name.startswith("diffusers.") else {}
        if names.get(_EXECUTION_DEVICE) is _execution_device:
            names[_EXECUTION_DEVICE] = _told_execution_device


@functools.cache
def _tell_attributes(kind: Any) -> None:
    for name in ("device", "dtype"):
        setattr(kind, name, property(functools.partial(_told, name, getattr(kind, name).fget)))


def _told(name: str, ask: Any, module: nn.Module) -> Any:
    facts = vars(module).get(FACTS)
    known = getattr(facts, name, None)
    return ask(module) if known is None else known


def _told_execution_device(module: nn.Module) -> torch.device:
    facts: Facts | None = vars(module).get(FACTS)
    return facts.execution_device if facts else torch.device(_execution_device(module))
