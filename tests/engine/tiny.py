"""Tiny random pipelines of real families, built in code: same wiring, a few thousand weights.

Weights are seeded, so two builds of one family are the same pipeline.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from diffusers import (
    AutoencoderDC,
    AutoencoderKL,
    AutoencoderKLFlux2,
    AutoencoderKLQwenImage,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
    FluxPipeline,
    FluxTransformer2DModel,
    LatentConsistencyModelPipeline,
    LCMScheduler,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    SanaPipeline,
    SanaSprintPipeline,
    SanaTransformer2DModel,
    SCMScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

WIDTH = 32
CHAT = (
    "{% for message in messages %}<|{{ message['role'] }}|>"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}{{ part['text'] }}{% endfor %}{% endif %}"
    "{% endfor %}"
)


def tokenizer(max_length: int = 77) -> Any:
    """A byte-level tokenizer: every string in the world, no vocabulary to fetch."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {symbol: index for index, symbol in enumerate(["<s>", "</s>", "<pad>", *alphabet])}
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    wrapped = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", eos_token="</s>", pad_token="<pad>",
        model_max_length=max_length,
    )
    wrapped.chat_template = CHAT
    return wrapped


def letters(max_length: int) -> Any:
    """A byte-level tokenizer written in Python."""
    return transformers.ByT5Tokenizer(extra_ids=0, model_max_length=max_length)


class Words(transformers.PreTrainedTokenizer):  # type: ignore[misc]
    """A tokenizer written in Python that knows a few words and no others."""

    def __init__(self, *words: str, **more: Any) -> None:
        self._words = {word: id for id, word in enumerate(("<s>", "</s>", "<unk>", *words))}
        marks = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>"}
        super().__init__(unk_token="<unk>", **marks, **more)

    @property
    def vocab_size(self) -> int:
        return len(self._words)

    def get_vocab(self) -> dict[str, int]:
        return dict(self._words)

    def _tokenize(self, text: str) -> list[str]:
        return text.split()

    def _convert_token_to_id(self, token: str) -> int:
        return self._words.get(token, self._words["<unk>"])

    def _convert_id_to_token(self, id: int) -> str:
        return list(self._words)[id]

    def build_inputs_with_special_tokens(self, ids: list[int], _: Any = None) -> list[int]:
        return [0, *ids, 1]


def words(*known: str, length: int) -> Any:
    """A tokenizer written in Python that knows a few words."""
    return Words(*known, model_max_length=length)


def clip(*, projected: bool = False, width: int = WIDTH) -> Any:
    """A CLIP text encoder."""
    config = transformers.CLIPTextConfig(
        hidden_size=width, intermediate_size=37, projection_dim=width, num_hidden_layers=3,
        num_attention_heads=4, vocab_size=300, bos_token_id=0, eos_token_id=1, pad_token_id=2,
    )
    kind = transformers.CLIPTextModelWithProjection if projected else transformers.CLIPTextModel
    return kind(config)


def t5(width: int = WIDTH) -> Any:
    """A T5 text encoder."""
    return transformers.T5EncoderModel(
        transformers.T5Config(
            vocab_size=300, d_model=width, d_kv=8, d_ff=37, num_layers=2, num_heads=4,
            pad_token_id=2, eos_token_id=1, dropout_rate=0.1,
        )
    )


def kl(channels: int = 4, **more: Any) -> Any:
    """A KL autoencoder that shrinks edges by two."""
    config = {
        "block_out_channels": (32, 32), "in_channels": 3, "out_channels": 3,
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
        "latent_channels": channels, "norm_num_groups": 8, "sample_size": 32,
    }
    return AutoencoderKL(**(config | more))


def unet(**more: Any) -> Any:
    """A conditional UNet."""
    config = {
        "block_out_channels": (32, 64), "layers_per_block": 1, "sample_size": 32,
        "in_channels": 4, "out_channels": 4, "cross_attention_dim": WIDTH,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "attention_head_dim": 8, "norm_num_groups": 8,
    }
    return UNet2DConditionModel(**(config | more))


def sd() -> Any:
    """Stable Diffusion."""
    return StableDiffusionPipeline(
        vae=kl(), text_encoder=clip(), tokenizer=tokenizer(), unet=unet(),
        scheduler=EulerDiscreteScheduler(beta_schedule="scaled_linear"),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )


def lcm() -> Any:
    """A latent consistency model."""
    return LatentConsistencyModelPipeline(
        vae=kl(), text_encoder=clip(), tokenizer=tokenizer(),
        unet=unet(time_cond_proj_dim=16), scheduler=LCMScheduler(),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )


def sdxl() -> Any:
    """Stable Diffusion XL."""
    return StableDiffusionXLPipeline(
        vae=kl(), text_encoder=clip(), text_encoder_2=clip(projected=True),
        tokenizer=tokenizer(), tokenizer_2=tokenizer(),
        unet=unet(
            cross_attention_dim=2 * WIDTH, addition_embed_type="text_time",
            addition_time_embed_dim=8, projection_class_embeddings_input_dim=6 * 8 + WIDTH,
            use_linear_projection=True,
        ),
        scheduler=EulerDiscreteScheduler(
            beta_schedule="scaled_linear", timestep_spacing="trailing"
        ),
    )


def sd3() -> Any:
    """Stable Diffusion 3."""
    return StableDiffusion3Pipeline(
        transformer=SD3Transformer2DModel(
            sample_size=16, patch_size=1, in_channels=16, num_layers=2, attention_head_dim=8,
            num_attention_heads=4, joint_attention_dim=WIDTH, caption_projection_dim=WIDTH,
            pooled_projection_dim=2 * WIDTH, out_channels=16, pos_embed_max_size=32,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=kl(16, shift_factor=0.06, scaling_factor=1.5),
        text_encoder=clip(projected=True), tokenizer=tokenizer(),
        text_encoder_2=clip(projected=True), tokenizer_2=tokenizer(),
        text_encoder_3=t5(), tokenizer_3=tokenizer(),
    )


def flux() -> Any:
    """FLUX.1."""
    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=kl(1, use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.06,
               scaling_factor=1.5),
        text_encoder=clip(), tokenizer=tokenizer(), text_encoder_2=t5(), tokenizer_2=tokenizer(),
        transformer=FluxTransformer2DModel(
            patch_size=1, in_channels=4, num_layers=1, num_single_layers=1,
            attention_head_dim=16, num_attention_heads=2, joint_attention_dim=WIDTH,
            pooled_projection_dim=WIDTH, axes_dims_rope=(4, 4, 8),
        ),
    )


def qwen3() -> Any:
    """A Qwen3 language model as text encoder."""
    return transformers.Qwen3ForCausalLM(
        transformers.Qwen3Config(
            vocab_size=300, hidden_size=16, intermediate_size=16, num_hidden_layers=2,
            num_attention_heads=2, num_key_value_heads=2, head_dim=8, pad_token_id=2,
            bos_token_id=0, eos_token_id=1, max_position_embeddings=1024,
        )
    )


def flux2_klein() -> Any:
    """FLUX.2 klein."""
    return Flux2KleinPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=AutoencoderKLFlux2(
            block_out_channels=(4,), down_block_types=("DownEncoderBlock2D",),
            up_block_types=("UpDecoderBlock2D",), latent_channels=1, norm_num_groups=1,
            sample_size=32, use_quant_conv=False, use_post_quant_conv=False,
        ),
        text_encoder=qwen3(), tokenizer=tokenizer(512),
        transformer=Flux2Transformer2DModel(
            patch_size=1, in_channels=4, num_layers=1, num_single_layers=1,
            attention_head_dim=16, num_attention_heads=2, joint_attention_dim=16,
            timestep_guidance_channels=256, axes_dims_rope=(4, 4, 4, 4), guidance_embeds=False,
        ),
        is_distilled=True,
    )


def gemma() -> Any:
    """A Gemma 2 language model as text encoder."""
    return transformers.Gemma2Model(
        transformers.Gemma2Config(
            vocab_size=300, hidden_size=16, intermediate_size=16, num_hidden_layers=2,
            num_attention_heads=2, num_key_value_heads=1, head_dim=8, pad_token_id=2,
            bos_token_id=0, eos_token_id=1, max_position_embeddings=1024,
        )
    )


def dc() -> Any:
    """A deep-compression autoencoder that shrinks edges by four."""
    return AutoencoderDC(
        in_channels=3, latent_channels=4, attention_head_dim=2,
        encoder_block_types=("ResBlock", "EfficientViTBlock"),
        decoder_block_types=("ResBlock", "EfficientViTBlock"),
        encoder_block_out_channels=(8, 8), decoder_block_out_channels=(8, 8),
        encoder_qkv_multiscales=((), (5,)), decoder_qkv_multiscales=((), (5,)),
        encoder_layers_per_block=(1, 1), decoder_layers_per_block=(1, 1),
        downsample_block_type="conv", upsample_block_type="interpolate",
        decoder_norm_types="rms_norm", decoder_act_fns="silu", scaling_factor=0.41407,
    )


def sana_transformer(**more: Any) -> Any:
    """A Sana transformer."""
    config = {
        "patch_size": 1, "in_channels": 4, "out_channels": 4, "num_layers": 1,
        "num_attention_heads": 2, "attention_head_dim": 4, "num_cross_attention_heads": 2,
        "cross_attention_head_dim": 4, "cross_attention_dim": 8, "caption_channels": 16,
        "sample_size": 16,
    }
    return SanaTransformer2DModel(**(config | more))


def sana() -> Any:
    """Sana."""
    return SanaPipeline(
        tokenizer=tokenizer(300), text_encoder=gemma(), vae=dc(), transformer=sana_transformer(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
    )


def sana_sprint() -> Any:
    """Sana-Sprint."""
    return SanaSprintPipeline(
        tokenizer=tokenizer(300), text_encoder=gemma(), vae=dc(),
        transformer=sana_transformer(guidance_embeds=True, qk_norm="rms_norm_across_heads"),
        scheduler=SCMScheduler(),
    )


def pixart_sigma() -> Any:
    """PixArt-Sigma."""
    return PixArtSigmaPipeline(
        tokenizer=tokenizer(120), text_encoder=t5(), vae=kl(),
        transformer=PixArtTransformer2DModel(
            sample_size=16, num_layers=2, patch_size=2, attention_head_dim=8,
            num_attention_heads=3, caption_channels=WIDTH, in_channels=4, cross_attention_dim=24,
            out_channels=8, attention_bias=True, norm_type="ada_norm_single",
            norm_elementwise_affine=False, norm_eps=1e-6, use_additional_conditions=False,
        ),
        scheduler=DPMSolverMultistepScheduler(),
    )


def z_image() -> Any:
    """Z-Image."""
    return ZImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=kl(16, use_quant_conv=False, use_post_quant_conv=False, scaling_factor=0.36,
               shift_factor=0.11),
        text_encoder=qwen3(), tokenizer=tokenizer(512),
        transformer=ZImageTransformer2DModel(
            all_patch_size=(2,), all_f_patch_size=(1,), in_channels=16, dim=32, n_layers=2,
            n_refiner_layers=1, n_heads=2, n_kv_heads=2, qk_norm=True, cap_feat_dim=16,
            rope_theta=256.0, t_scale=1000.0, axes_dims=[8, 4, 4], axes_lens=[256, 32, 32],
        ),
    )


def qwen_image() -> Any:
    """Qwen-Image."""
    config = transformers.Qwen2_5_VLConfig(
        text_config={
            "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2,
            "num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": 300,
            "rope_scaling": {"mrope_section": [1, 1, 2], "rope_type": "default",
                             "type": "default"},
            "rope_theta": 1000000.0, "pad_token_id": 2, "bos_token_id": 0, "eos_token_id": 1,
        },
        vision_config={"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2,
                       "out_hidden_size": 16},
        vision_end_token_id=296, vision_start_token_id=297, vision_token_id=298,
        image_token_id=295, video_token_id=294,
    )
    return QwenImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=AutoencoderKLQwenImage(
            base_dim=24, z_dim=4, dim_mult=[1, 2, 4], num_res_blocks=1,
            temperal_downsample=[False, True], latents_mean=[0.0] * 4, latents_std=[1.0] * 4,
        ),
        text_encoder=transformers.Qwen2_5_VLForConditionalGeneration(config),
        tokenizer=tokenizer(1024),
        transformer=QwenImageTransformer2DModel(
            patch_size=2, in_channels=16, out_channels=4, num_layers=2, attention_head_dim=16,
            num_attention_heads=3, joint_attention_dim=16, axes_dims_rope=(8, 4, 4),
            guidance_embeds=False,
        ),
    )


FAMILIES: dict[str, Callable[[], Any]] = {
    kind.__name__: kind
    for kind in (
        sd, sdxl, sd3, flux, flux2_klein, sana, sana_sprint, pixart_sigma, z_image, qwen_image, lcm,
    )
}


def build(family: str) -> Any:
    """A family's tiny pipeline, in eval mode, the same every time."""
    return built(FAMILIES[family])


def built(make: Callable[[], Any]) -> Any:
    """A tiny pipeline as it is made, the same every time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        pipeline = make()
        for module in pipeline.components.values():
            if isinstance(module, torch.nn.Module):
                module.eval().requires_grad_(False)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def save(family: str, folder: Path, *, id: str | None = None, **card: Any) -> Path:
    """Write a tiny pipeline and its card to `folder/<id>`, as an endpoint's folder."""
    target = folder / (id or family)
    build(family).save_pretrained(target)
    facts: dict[str, Any] = {"id": id or family, "dtype": "float32"} | card
    facts.setdefault("sizes", {"native": [32, 32], "min": 16, "max": 256, "multiple_of": 16})
    lines = [f"{name} = {_toml(value)}" for name, value in facts.items()]
    (target / "card.toml").write_text("\n".join(lines) + "\n")
    return target


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {_toml(item)}" for name, item in value.items()) + " }"
    return json.dumps(value)
