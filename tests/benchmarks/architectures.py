"""Real architectures from configs in code, with random weights: as fast as trained ones.

Nothing is fetched: the tokenizer is the tests' own, which knows every byte.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import transformers
from diffusers import (
    AutoencoderDC,
    AutoencoderKL,
    AutoencoderKLFlux2,
    AutoencoderKLQwenImage,
    EulerAncestralDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    SanaSprintPipeline,
    SanaTransformer2DModel,
    SCMScheduler,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)

from tests.engine.tiny import tokenizer

TOKENS = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}


Parts = dict[str, Any]


class Architecture(NamedTuple):
    """A pipeline class, what makes its modules, and what makes its other parts."""

    pipeline: Any
    modules: Callable[[], Parts]
    others: Callable[[], Parts]


def sdxl() -> Parts:
    """Stable Diffusion XL, as SDXL-Turbo has it: a UNet of 2.6 billion weights."""
    return {
        "vae": _kl(4, scaling_factor=0.13025, force_upcast=False),
        "text_encoder": _clip(768, 12, 12),
        "text_encoder_2": _clip(1280, 32, 20, projected=True),
        "unet": UNet2DConditionModel(
            sample_size=64, block_out_channels=(320, 640, 1280), layers_per_block=2,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 2, 10), attention_head_dim=(5, 10, 20),
            cross_attention_dim=2048, addition_embed_type="text_time",
            addition_time_embed_dim=256, projection_class_embeddings_input_dim=2816,
            use_linear_projection=True,
        ),
    }


def flux2_klein() -> Parts:
    """FLUX.2-klein-4B: 5 double and 20 single blocks, Qwen3-4B as text encoder."""
    return {
        "vae": AutoencoderKLFlux2(),
        "text_encoder": _qwen3(),
        "transformer": Flux2Transformer2DModel(
            num_layers=5, num_single_layers=20, num_attention_heads=24,
            joint_attention_dim=3 * 2560, guidance_embeds=False,
        ),
    }


def z_image() -> Parts:
    """Z-Image-Turbo: 30 blocks, 6 billion weights, Qwen3-4B as text encoder."""
    return {
        "vae": _kl(
            16, scaling_factor=0.3611, shift_factor=0.1159, use_quant_conv=False,
            use_post_quant_conv=False,
        ),
        "text_encoder": _qwen3(),
        "transformer": ZImageTransformer2DModel(),
    }


def sana_sprint() -> Parts:
    """Sana-Sprint 1.6B: linear attention, an autoencoder that shrinks edges by 32, Gemma 2 2B."""
    blocks = ("ResBlock",) * 3 + ("EfficientViTBlock",) * 3
    return {
        "vae": AutoencoderDC(
            encoder_block_types=blocks, decoder_block_types=blocks,
            downsample_block_type="conv", upsample_block_type="interpolate",
            decoder_act_fns="silu", scaling_factor=0.41407,
        ),
        "text_encoder": transformers.Gemma2Model(transformers.Gemma2Config(**TOKENS)),
        "transformer": SanaTransformer2DModel(
            guidance_embeds=True, qk_norm="rms_norm_across_heads"
        ),
    }


def qwen_image() -> Parts:
    """Qwen-Image: 60 blocks, 20 billion weights, Qwen2.5-VL 7B as text encoder."""
    text = {
        "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28,
        "num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152064,
        "rope_scaling": {"mrope_section": [16, 24, 24], "rope_type": "default"},
    }
    vision = {"out_hidden_size": 3584}
    config = transformers.Qwen2_5_VLConfig(text_config=text, vision_config=vision)
    return {
        "vae": AutoencoderKLQwenImage(),
        "text_encoder": transformers.Qwen2_5_VLForConditionalGeneration(config),
        "transformer": QwenImageTransformer2DModel(),
    }


ARCHITECTURES = {
    "sdxl": Architecture(
        StableDiffusionXLPipeline, sdxl,
        lambda: {
            "tokenizer": tokenizer(), "tokenizer_2": tokenizer(),
            "scheduler": EulerAncestralDiscreteScheduler(
                beta_schedule="scaled_linear", timestep_spacing="trailing"
            ),
        },
    ),
    "flux2_klein": Architecture(
        Flux2KleinPipeline, flux2_klein,
        lambda: _flow(512, shift=3.0, use_dynamic_shifting=True) | {"is_distilled": True},
    ),
    "z_image": Architecture(ZImagePipeline, z_image, lambda: _flow(512, shift=3.0)),
    "sana_sprint": Architecture(
        SanaSprintPipeline, sana_sprint,
        lambda: {"tokenizer": tokenizer(300), "scheduler": SCMScheduler()},
    ),
    "qwen_image": Architecture(
        QwenImagePipeline, qwen_image,
        lambda: _flow(1024, shift=3.0, use_dynamic_shifting=True),
    ),
}


@torch.no_grad()
def build(name: str, device: str | torch.device, dtype: torch.dtype = torch.bfloat16) -> Any:
    """A pipeline whose weights are drawn where they will stay; on `meta` it has none."""
    architecture = ARCHITECTURES[name]
    with torch.device(device), _default(dtype):
        modules = architecture.modules()
        for module in modules.values():
            module.eval().requires_grad_(False)
            _fill(module)
    pipeline = architecture.pipeline(**modules, **architecture.others())
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _fill(module: torch.nn.Module) -> None:
    """Matrices of a size that keeps numbers finite through any depth; some are made empty."""
    for weight in module.parameters():
        if weight.ndim > 1:
            weight.normal_(std=0.02)


@contextmanager
def _default(dtype: torch.dtype) -> Iterator[None]:
    """Make new weights of a dtype, so that they are never there twice."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _flow(length: int, **config: Any) -> Parts:
    scheduler = FlowMatchEulerDiscreteScheduler(**config)
    return {"tokenizer": tokenizer(length), "scheduler": scheduler}


def _clip(width: int, layers: int, heads: int, *, projected: bool = False) -> Any:
    config = transformers.CLIPTextConfig(
        hidden_size=width, intermediate_size=4 * width, projection_dim=width,
        num_hidden_layers=layers, num_attention_heads=heads,
        hidden_act="gelu" if projected else "quick_gelu", **TOKENS,
    )
    kind = transformers.CLIPTextModelWithProjection if projected else transformers.CLIPTextModel
    return kind(config)


def _qwen3() -> Any:
    return transformers.Qwen3ForCausalLM(
        transformers.Qwen3Config(
            vocab_size=151936, hidden_size=2560, intermediate_size=9728, num_hidden_layers=36,
            num_attention_heads=32, num_key_value_heads=8, head_dim=128,
            tie_word_embeddings=True, **TOKENS,
        )
    )


def _kl(channels: int, **more: Any) -> Any:
    blocks = 4
    return AutoencoderKL(
        block_out_channels=(128, 256, 512, 512), latent_channels=channels, layers_per_block=2,
        down_block_types=("DownEncoderBlock2D",) * blocks,
        up_block_types=("UpDecoderBlock2D",) * blocks, **more,
    )
