"""The pipeline that is served, and what is asked of it: SDXL's wiring with random weights.

Its denoiser is all weights and few tokens, so that on one core a forward of four samples costs
little more than of one, as on a GPU: whoever does not batch has a third of the pictures.
"""

from pathlib import Path
from typing import Any

import torch
from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline
from safetensors.torch import save_file

from tests.engine import tiny

EDGE = 128
PROMPT = "a red apple on a blue background"
ROUTES = [f"ink-{number}" for number in range(8)]
RANK = 8
CARD = f"""id = "tiny"
dtype = "float32"
steps = {{ min = 1, max = 10, default = 1 }}
guidance = {{ default = 1.0 }}
sizes = {{ native = [{EDGE}, {EDGE}], min = 64, max = 1024, multiple_of = 16 }}
"""


def random_sdxl() -> Any:
    """An SDXL of random weights, the same every time."""
    torch.manual_seed(0)
    text_width, levels = tiny.WIDTH, 5
    pipeline = StableDiffusionXLPipeline(
        vae=tiny.kl(
            block_out_channels=(16,) * levels,
            down_block_types=("DownEncoderBlock2D",) * levels,
            up_block_types=("UpDecoderBlock2D",) * levels,
        ),
        unet=tiny.unet(
            block_out_channels=(32, 64, 384), transformer_layers_per_block=(1, 1, 4),
            down_block_types=("DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
            cross_attention_dim=2 * text_width, addition_embed_type="text_time",
            addition_time_embed_dim=8, use_linear_projection=True,
            projection_class_embeddings_input_dim=6 * 8 + text_width,
        ),
        text_encoder=tiny.clip(), text_encoder_2=tiny.clip(projected=True),
        tokenizer=tiny.tokenizer(), tokenizer_2=tiny.tokenizer(),
        scheduler=EulerDiscreteScheduler(
            beta_schedule="scaled_linear", timestep_spacing="trailing"
        ),
    )
    for module in (pipeline.vae, pipeline.unet, pipeline.text_encoder, pipeline.text_encoder_2):
        module.eval()
    return pipeline


def save(folder: Path) -> Path:
    """Write the pipeline and its card to `folder/tiny`, and adapters beside it."""
    pipeline, target = random_sdxl(), folder / "tiny"
    pipeline.save_pretrained(target)
    (target / "card.toml").write_text(CARD)
    adapters = adapters_of(target) / "tiny"
    adapters.mkdir(parents=True)
    for route in ROUTES:
        save_file(_random_lora(pipeline.unet), adapters / f"{route}.safetensors")
    return target


def adapters_of(weights: Path) -> Path:
    """The folder of a saved pipeline's adapters."""
    return weights.parent / "adapters"


def body(number: int, steps: int, adapter: str = "") -> dict[str, object]:
    """A request as clients send it."""
    return {
        "model": f"tiny:{adapter}" if adapter else "tiny",
        "prompt": f"{PROMPT} {number % 16}", "seed": number, "num_inference_steps": steps,
        "guidance_scale": 1.0, "size": f"{EDGE}x{EDGE}",
    }


def _random_lora(unet: Any) -> dict[str, torch.Tensor]:
    lora = {}
    for path, layer in unet.named_modules():
        if path.endswith(("to_q", "to_k", "to_v", "to_out.0")):
            lora[f"unet.{path}.lora_A.weight"] = torch.randn(RANK, layer.in_features) / RANK
            lora[f"unet.{path}.lora_B.weight"] = torch.randn(layer.out_features, RANK) / 50
    return lora
