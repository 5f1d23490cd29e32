"""Tiny pipelines made of blocks, and those of families that are nothing else."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import diffusers
import torch
import transformers

from gateway.engine.weights.processors import processor
from tests.engine import tiny

BLOCKS = {
    "z_image": "ZImageAutoBlocks",
    "sdxl": "StableDiffusionXLAutoBlocks",
    "flux": "FluxAutoBlocks",
    "qwen_image": "QwenImageAutoBlocks",
}


def qwen3_vl_config() -> Any:
    """Of a language model that sees, as text encoder."""
    return transformers.Qwen3VLConfig(
        text_config={
            "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "head_dim": 8,
            "num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": 300,
            "rope_scaling": {"mrope_section": [2, 1, 1], "rope_type": "default"},
            "pad_token_id": 2, "bos_token_id": 0, "eos_token_id": 1,
        },
        vision_config={"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2,
                       "out_hidden_size": 16, "deepstack_visual_indexes": [0]},
    )  # fmt: skip


def anima() -> Any:
    """Anima, whose denoiser is given no mask of padding: that wants torchvision."""
    pipeline = diffusers.AnimaAutoBlocks().init_pipeline()
    pipeline.update_components(
        text_encoder=tiny.qwen3().model, tokenizer=tiny.tokenizer(512),
        t5_tokenizer=tiny.tokenizer(512), vae=tiny.qwen_image().vae,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
        text_conditioner=diffusers.AnimaTextConditioner(
            source_dim=16, target_dim=16, model_dim=16, num_layers=1, num_attention_heads=2,
            target_vocab_size=300, min_sequence_length=16,
        ),
        transformer=diffusers.CosmosTransformer3DModel(
            in_channels=4, out_channels=4, num_attention_heads=2, attention_head_dim=16,
            num_layers=2, mlp_ratio=2, text_embed_dim=16, adaln_lora_dim=4, max_size=(4, 32, 32),
            extra_pos_embed_type=None, concat_padding_mask=False,
        ),
    )  # fmt: skip
    return pipeline


def flux3() -> Any:
    """FLUX.3 klein, distilled, without the language model that writes prompts anew."""
    blocks = diffusers.Flux3DistilledAutoBlocks()
    blocks.sub_blocks.pop("prompt_upsampler")
    pipeline = blocks.init_pipeline()
    with TemporaryDirectory() as folder:
        for part in (tiny.tokenizer(512), transformers.Qwen2VLImageProcessor()):
            part.save_pretrained(folder)
        reader = processor(transformers.Qwen3VLProcessor, Path(folder))
    pipeline.update_components(
        tokenizer=reader, vae=tiny.flux2_klein().vae,
        text_encoder=transformers.Qwen3VLForConditionalGeneration(qwen3_vl_config()),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
        transformer=diffusers.Flux3Transformer2DModel(
            in_channels=4, cond_in_channels=4, num_layers=1, num_single_layers=1, flow_map=True,
            attention_head_dim=16, num_attention_heads=2, joint_attention_dim=32,
            timestep_channels=16, axes_dims_rope=(4, 4, 4, 4),
        ),
    )  # fmt: skip
    return pipeline


ALONE = {"anima": anima, "flux3": flux3}
"""Families that diffusers has as blocks alone."""

GIVEN: dict[str, dict[str, Any]] = {"flux3": {"text_encoder_out_layers": (1, 2)}}


def build(family: str) -> Any:
    """A tiny pipeline made of blocks, not yet to be called as others are."""
    if family in ALONE:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            made = ALONE[family]()
        for part in made.components.values():
            if isinstance(part, torch.nn.Module):
                part.eval().requires_grad_(False)
        return made
    parts = tiny.build(family).components
    pipeline = getattr(diffusers, BLOCKS[family])().init_pipeline()
    known = pipeline.components
    pipeline.update_components(**{name: part for name, part in parts.items() if name in known})
    return pipeline
