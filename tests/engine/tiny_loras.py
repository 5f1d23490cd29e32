"""Random LoRA files for the tiny pipelines, written by PEFT and diffusers as users' tools do."""

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict

from gateway.catalog.cards import AdapterCard
from tests.engine import tiny

WITHOUT = {"pixart_sigma"}
"""Families for which diffusers has no LoRA loader."""


def save(
    family: str, folder: Path, route: str, *, rank: int = 4, text: bool = True,
    more: tuple[str, ...] = (),
) -> AdapterCard:
    """Write a LoRA of a family's denoiser, and of its text encoder where it can have one."""
    pipeline = tiny.build(family)
    denoiser = "unet" if "unet" in pipeline.components else "transformer"
    targets = ["to_q", "to_k", "to_v", "to_out.0", "conv1", "conv2", "time_emb_proj"]
    parts = {denoiser: [*more, *(targets if denoiser == "unet" else targets[:4])]}
    if text and "text_encoder" in pipeline._lora_loadable_modules:
        parts["text_encoder"] = ["q_proj", "v_proj"]
    given: dict[str, Any] = {}
    with torch.random.fork_rng():
        torch.manual_seed(sum(map(ord, route)))
        for name, layers in parts.items():
            config = LoraConfig(
                r=rank, lora_alpha=rank + 2, init_lora_weights=False, target_modules=layers
            )
            module = getattr(pipeline, name)
            module.add_adapter(config, route.replace(".", "_"))
            _shrink(module)
            weights = get_peft_model_state_dict(module, adapter_name=route.replace(".", "_"))
            given[f"{name}_lora_layers"] = weights
            given[f"{name}_lora_adapter_metadata"] = config.to_dict()
    pipeline.save_lora_weights(folder, weight_name=f"{route}.safetensors", **given)
    file = folder / f"{route}.safetensors"
    return AdapterCard(endpoint=family, route=route, source=file.name, path=file)


def _shrink(module: Any) -> None:
    """Random weights of a size that changes the picture and does not drown it."""
    for name, weight in module.named_parameters():
        if "lora_" in name:
            weight.data.normal_(std=0.2)
