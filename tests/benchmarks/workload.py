"""The pipeline that is measured: SDXL's wiring, an autoencoder that shrinks edges by eight."""

from pathlib import Path
from typing import Any

import torch
from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline

from tests.benchmarks.bare import EDGE
from tests.engine import tiny

CARD = f"""id = "tiny"
dtype = "float32"
steps = {{ min = 1, max = 10, default = 1 }}
guidance = {{ default = 1.0 }}
sizes = {{ native = [{EDGE}, {EDGE}], min = 64, max = {EDGE}, multiple_of = 8 }}
"""


def random_sdxl() -> Any:
    """A tiny SDXL of random weights, the same every time."""
    torch.manual_seed(0)
    text_width, channels = tiny.WIDTH, (32, 32, 32, 32)
    pipeline = StableDiffusionXLPipeline(
        vae=tiny.kl(
            block_out_channels=channels,
            down_block_types=("DownEncoderBlock2D",) * len(channels),
            up_block_types=("UpDecoderBlock2D",) * len(channels),
        ),
        unet=tiny.unet(
            block_out_channels=(32, 64), cross_attention_dim=2 * text_width,
            addition_embed_type="text_time", addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + text_width, use_linear_projection=True,
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
    """Write the pipeline and its card to `folder/tiny`, as an endpoint's folder."""
    target = folder / "tiny"
    random_sdxl().save_pretrained(target)
    (target / "card.toml").write_text(CARD)
    return target
