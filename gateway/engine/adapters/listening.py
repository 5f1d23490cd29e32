"""What diffusers makes of a LoRA's file, heard where PEFT would build layers for it.

A pipeline loads the file into a twin of itself whose modules have shapes and no weights, and
only listen: every format that diffusers knows works, and nothing is built. Of the pipeline's own
modules the twin has none, since diffusers casts those that it loads into and takes the hooks of
all off and on again, which the engine's thread may be in the middle of. Building layers of
PEFT and taking them out again was nine tenths of the 2.8 s of processor time that a LoRA of
SDXL took to read.
"""

import copy
import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from diffusers.utils.peft_utils import get_peft_kwargs
from diffusers.utils.state_dict_utils import convert_unet_state_dict_to_peft
from peft import LoraConfig
from torch import Tensor, nn

from gateway.catalog.heads.kinds import DOWN, MAGNITUDE, UP
from gateway.engine.adapters.hollow import hollow_copy
from gateway.engine.weights.files import in_small_letters

NAME = "adapter"
_PARTS = {"A": DOWN, "B": UP, "magnitude_vector": MAGNITUDE}
_BIAS = "diff_b"
_EXPRESSION = set("*+?[]()|\\$")
"""What is in no path of a layer: matching hundreds of plain ends as expressions takes seconds."""


class Heard(NamedTuple):
    """What a component was to load: tensors by PEFT's names, and how much they count."""

    component: str
    tensors: Mapping[str, Tensor]
    config: LoraConfig

    def layers(self) -> Iterator[tuple[str, dict[str, Tensor], float]]:
        """Paths of layers, the parts of each one's change, and the factor of the second matrix."""
        found: dict[str, dict[str, Tensor]] = {}
        for name, tensor in self.tensors.items():
            path, _, rest = name.partition(".lora_")
            kind, _, ending = rest.partition(".")
            if kind in _PARTS:
                part = _BIAS if ending.endswith("bias") else _PARTS[kind]
                found.setdefault(path, {})[part] = tensor
        for path, parts in found.items():
            if {DOWN, UP} <= parts.keys():
                scaling = _scaling(self.config, path, len(parts[DOWN]))
                yield path, _settled(parts, scaling), scaling


def heard(pipeline: Any, path: Path) -> list[Heard]:
    """What a pipeline's components are to load of a LoRA's file.

    It raises whatever diffusers raises of a file that it cannot read.
    """
    said: list[Heard] = []
    twin = copy.copy(pipeline)
    for name, module in pipeline.components.items():
        if isinstance(module, nn.Module):
            is_asked = name in pipeline._lora_loadable_modules
            # Not by setattr, which would rewrite the shared pipeline's config.
            vars(twin)[name] = _listener(name, module, said) if is_asked else None
    with in_small_letters(path) as file:
        twin.load_lora_weights(str(file.parent), weight_name=file.name, adapter_name=NAME)
    return said


def _listener(name: str, module: nn.Module, said: list[Heard]) -> nn.Module:
    """A hollow twin of a module that notes what it is to load: as diffusers or transformers ask."""

    def load_adapter(
        *, peft_config: LoraConfig, adapter_state_dict: Mapping[str, Tensor], **_: Any
    ) -> None:
        said.append(Heard(name, adapter_state_dict, peft_config))

    def load_lora_adapter(
        tensors: dict[str, Tensor],
        prefix: str | None = "transformer",
        network_alphas: Mapping[str, float] | None = None,
        metadata: Mapping[str, Any] | None = None,
        **_: Any,
    ) -> None:
        inside = partial(_inside, prefix)
        own = inside(tensors)
        if own and "lora_A" not in next(iter(own)):
            own = convert_unet_state_dict_to_peft(own)
        if own:
            given = inside(metadata) if metadata else _implied(own, inside(network_alphas or {}))
            load_adapter(peft_config=LoraConfig(**given), adapter_state_dict=own)

    twin = hollow_copy(module)
    vars(twin).update(
        load_adapter=load_adapter,
        load_lora_adapter=load_lora_adapter,
        to=lambda *_, **__: twin,  # else it would be filled, only to be moved
    )
    return twin


def _inside(prefix: str | None, named: Mapping[str, Any]) -> dict[str, Any]:
    start = f"{prefix}." if prefix else ""
    return {
        name.removeprefix(start): value for name, value in named.items() if name.startswith(start)
    }


def _implied(tensors: dict[str, Tensor], alphas: dict[str, float]) -> dict[str, Any]:
    """The config that a file's tensors imply, as diffusers tells it."""
    ranks = {
        f"^{name}": tensor.shape[1]
        for name, tensor in tensors.items()
        if "lora_B" in name and tensor.ndim > 1
    }
    given: dict[str, Any] = get_peft_kwargs(
        ranks, network_alpha_dict=alphas, peft_state_dict=tensors
    )
    return given


def _settled(parts: dict[str, Tensor], scaling: float) -> dict[str, Tensor]:
    """Parts as differences of a layer's weights have them."""
    if _BIAS in parts:
        parts[_BIAS] = parts[_BIAS] * scaling
    if MAGNITUDE in parts:
        parts[MAGNITUDE] = parts[MAGNITUDE].flatten()
    return parts


def _scaling(config: LoraConfig, path: str, rank: int) -> float:
    """What a layer's second matrix counts; no alpha, or one of zero, means the rank."""
    alpha = _at(path, config.alpha_pattern, config.lora_alpha) or rank
    return alpha / (rank**0.5 if config.use_rslora else rank)


def _at(path: str, pattern: Mapping[str, float], other: float) -> float:
    """What a pattern says of a path: by the longest of its ends, or by an expression."""
    for end in (f"^{path}", *_ends(path)):
        if end in pattern:
            return pattern[end]
    return next((value for one, value in pattern.items() if _matches(one, path)), other)


def _ends(path: str) -> Iterator[str]:
    while path:
        yield path
        path = path.partition(".")[2]


def _matches(one: str, path: str) -> bool:
    return bool(_EXPRESSION & set(one)) and bool(re.match(rf"(.*\.)?({one})$", path))
