"""A mask on a family whose latents have more channels than diffusers' inpainting expects."""

import numpy as np
import torch
from diffusers import EulerDiscreteScheduler, StableDiffusionInpaintPipeline
from PIL import Image

from gateway.engine.pipelines.inpainting import admit_latent_channels
from tests.engine import tiny

NUM_CHANNELS = 8


def inpainting() -> StableDiffusionInpaintPipeline:
    """A tiny pipeline over latents of eight channels."""
    torch.manual_seed(0)
    pipeline = StableDiffusionInpaintPipeline(
        vae=tiny.kl(NUM_CHANNELS),
        text_encoder=tiny.clip(),
        tokenizer=tiny.tokenizer(),
        unet=tiny.unet(in_channels=NUM_CHANNELS, out_channels=NUM_CHANNELS),
        scheduler=EulerDiscreteScheduler(beta_schedule="scaled_linear", steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    for module in (pipeline.vae, pipeline.text_encoder, pipeline.unet):
        module.eval()
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def latents(pipeline: StableDiffusionInpaintPipeline, mask: Image.Image) -> torch.Tensor:
    """What a mask over one and the same picture comes to: `[channels, height, width]`."""
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    with torch.inference_mode():
        made = pipeline(
            prompt="a cat",
            image=Image.fromarray(picture),
            mask_image=mask,
            width=64,
            height=64,
            strength=1.0,
            num_inference_steps=2,
            guidance_scale=1.0,
            generator=torch.Generator().manual_seed(0),
            output_type="latent",
        ).images
    kept: torch.Tensor = made[0]
    return kept


def test_what_the_mask_leaves_out_is_kept() -> None:
    pipeline = inpainting()
    admit_latent_channels(pipeline)
    nothing = latents(pipeline, Image.new("L", (64, 64), 0))
    mask = Image.new("L", (64, 64), 0)
    mask.paste(255, (0, 0, 32, 64))
    left = latents(pipeline, mask)
    middle = left.shape[-1] // 2
    assert left.shape[0] == NUM_CHANNELS
    assert torch.equal(left[..., middle:], nothing[..., middle:])
    assert not torch.allclose(left[..., :middle], nothing[..., :middle])


def test_a_denoiser_diffusers_knows_is_left_alone() -> None:
    pipeline = inpainting()
    pipeline.unet = known = tiny.unet()
    admit_latent_channels(pipeline)
    assert pipeline.unet is known
