"""Pipelines that are inpainters themselves: they take a mask, and do without a picture."""

from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FluxFillPipeline, FluxTransformer2DModel, StableDiffusionInpaintPipeline
from PIL import Image

from gateway.job import Pixels
from tests.engine import tiny
from tests.engine.workbench import TOLERANCE, Workbench, difference, job, picture


def fill() -> Any:
    """FLUX.1 Fill: the denoiser is given the picture and the mask beside the latents."""
    parts = dict(tiny.flux().components)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        parts["transformer"] = FluxTransformer2DModel(
            patch_size=1, in_channels=4 + 4 + 16, out_channels=4, num_layers=1,
            num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
            joint_attention_dim=tiny.WIDTH, pooled_projection_dim=tiny.WIDTH,
            axes_dims_rope=(4, 4, 8),
        )  # fmt: skip
    parts.pop("image_encoder"), parts.pop("feature_extractor")
    return settled(FluxFillPipeline(**parts))


def nine() -> Any:
    """Stable Diffusion's inpainting, whose denoiser takes nine channels."""
    parts = dict(tiny.sd().components)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        parts["unet"] = tiny.unet(in_channels=9)
    parts.pop("image_encoder")
    return settled(StableDiffusionInpaintPipeline(**parts, requires_safety_checker=False))


def settled(pipeline: Any) -> Any:
    for module in pipeline.components.values():
        if isinstance(module, torch.nn.Module):
            module.eval().requires_grad_(False)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def pixels(seed: int, mode: str) -> Pixels:
    shape = (32, 32, 3) if mode == "RGB" else (32, 32)
    values = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    return Pixels(32, 32, len(mode), values.tobytes())


@torch.inference_mode()
def stock(pipeline: Any, image: Image.Image, mask: Image.Image) -> torch.Tensor:
    found: torch.Tensor = pipeline(
        prompt="a cat", image=image, mask_image=mask, width=32, height=32, strength=1.0,
        num_inference_steps=2, generator=torch.Generator().manual_seed(1), output_type="pt",
    ).images[0]  # fmt: skip
    return found


@pytest.mark.parametrize("made", [fill, nine])
def test_they_repaint_what_the_mask_says_or_all_of_a_blank_one(made: Any) -> None:
    pipeline = made()
    image, mask = pixels(1, "RGB"), pixels(2, "L")
    rgb = Image.frombytes("RGB", (32, 32), image.data)
    gray = Image.frombytes("L", (32, 32), mask.data)
    wanted = [
        stock(pipeline, rgb, gray),
        stock(pipeline, rgb, Image.new("L", (32, 32), 255)),
        stock(pipeline, Image.new("RGB", (32, 32), "gray"), Image.new("L", (32, 32), 255)),
    ]
    bench = Workbench({"own": pipeline})
    jobs = [
        job("own", "a cat", 1, 2, images=(image,), mask=mask, strength=1.0),
        job("own", "a cat", 1, 2, images=(image,), strength=1.0),
        job("own", "a cat", 1, 2),
    ]
    samples = [bench.add(one)[0] for one in jobs]
    bench.run()
    bench.close()
    for sample, one in zip(samples, wanted, strict=True):
        assert difference(picture(sample), one) <= TOLERANCE
    assert max(bench.denoiser_rows()) >= 3
