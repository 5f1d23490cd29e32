"""A tiny random `emoji` with two adapters, for a checkout whose weights are not trained yet."""

import warnings
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from diffusers.utils import convert_state_dict_to_diffusers
from peft import LoraConfig, get_peft_model_state_dict

from tests.engine.tiny import build, save

SIZES = {"native": [64, 64], "min": 16, "max": 2048, "multiple_of": 8, "resample": True}


def save_stand_in(folder: Path) -> list[str]:
    """Write the endpoint and its adapters; returns the flags that serve them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # diffusers deprecates what its own defaults write
        save("sd", folder / "models", id="emoji", sizes=SIZES, guidance={"default": 1.0})
        for seed, route in enumerate(("3d", "line")):
            _save_adapter(folder / "adapters" / "emoji" / f"{route}.safetensors", seed)
    return ["--models", str(folder / "models"), "--adapters", str(folder / "adapters")]


def _save_adapter(path: Path, seed: int) -> None:
    unet = build("sd").unet
    torch.manual_seed(seed)
    unet.add_adapter(
        LoraConfig(r=4, init_lora_weights=False, target_modules=["to_q", "to_v", "conv1"])
    )
    state = convert_state_dict_to_diffusers(get_peft_model_state_dict(unet))
    state = {name: 3 * tensor for name, tensor in state.items()}
    StableDiffusionPipeline.save_lora_weights(
        path.parent, unet_lora_layers=state, weight_name=path.name
    )
