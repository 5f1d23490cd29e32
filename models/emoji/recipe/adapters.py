"""The adapters: LoRA on the denoiser for another drawing style of the same subjects.

The three icon sets draw a subject with one outline, so an adapter learns the style from
pixel-aligned pictures and leaves subject and place to the base model.
"""

from pathlib import Path

import torch
from denoiser import EXPORTED, SAMPLE_PROMPTS, Lessons, new_denoiser, sheet, velocity_loss
from diffusers import StableDiffusionPipeline
from peft import LoraConfig, get_peft_model_state_dict, set_peft_model_state_dict
from torch import Tensor
from training import begin, is_first, load_weights, log, restore, train

ADAPTERS = Path(__file__).resolve().parents[3] / "adapters" / "emoji"
RANK = 32
TARGETS = [
    "to_q",
    "to_k",
    "to_v",
    "to_out.0",
    "conv1",
    "conv2",
    "time_emb_proj",
    "proj_in",
    "proj_out",
    "conv_in",
    "conv_out",
]


def train_adapter(style: str, work: Path, minutes: float, device: torch.device) -> None:
    """Train a style for the given minutes and write it as a diffusers LoRA."""
    begin()
    lessons = Lessons(work, device, style)
    model = _adapted(work, style).to(device, memory_format=torch.channels_last)
    count = 16 if device.type == "cpu" else 128

    def losses(progress: float) -> Tensor:
        # The base model knows the subjects: words and all noise levels from the start.
        return velocity_loss(model, lessons.seen, *lessons.batch(count, max(0.5, progress)))

    name = f"adapter-{style}"
    weights = train(name, model, losses, work=work, minutes=minutes, learning_rate=1e-3, decay=0.99)
    if not is_first():
        return
    model.load_state_dict(weights)
    model.eval()
    sheet(model, lessons, SAMPLE_PROMPTS).save(work / f"{name}.png")
    log(work, stage=name, sheet=str(work / f"{name}.png"))
    state = get_peft_model_state_dict(model)
    layers = {key: value.to(torch.float16).contiguous() for key, value in state.items()}
    StableDiffusionPipeline.save_lora_weights(
        ADAPTERS / style, unet_lora_layers=layers, weight_name=f"{style}.safetensors"
    )


def _adapted(work: Path, style: str) -> torch.nn.Module:
    """The denoiser with the adapter as it was exported, or one that does nothing yet."""
    model = new_denoiser()
    restore(model, work / "denoiser.safetensors", EXPORTED)
    model.requires_grad_(False)
    model.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=TARGETS))
    exported = ADAPTERS / style / f"{style}.safetensors"
    if exported.exists():
        weights = load_weights(exported).items()
        set_peft_model_state_dict(
            model, {name.removeprefix("unet."): weight.float() for name, weight in weights}
        )
    return model
