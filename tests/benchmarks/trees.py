"""The module trees of real models without their weights, answered at once.

Built on `meta` from the models' own configurations; then every weight is one zero that is
expanded to its shape, on the CPU, so that a pipeline finds device, dtype and size of each
module as it would. What a forward returns has the right shape and is all zeros: whatever time a
picture takes is the host's.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
import transformers
from diffusers import (
    AutoencoderKL,
    AutoencoderKLFlux2,
    AutoencoderKLQwenImage,
    EulerAncestralDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPooling, CausalLMOutputWithPast
from transformers.models.clip.modeling_clip import CLIPTextModelOutput

from tests.engine import tiny

CHANNELS = (128, 256, 512, 512)
SHIFTING: dict[str, Any] = {"shift": 3.0, "use_dynamic_shifting": True}


class Tree(NamedTuple):
    """A model, and the arguments of its call."""

    name: str
    build: Callable[[], Any]
    guidance: float | None = None
    arguments: Mapping[str, Any] = MappingProxyType({})


def zeros(*shape: int) -> Tensor:
    """A tensor that takes no memory and no time."""
    return torch.zeros(()).expand(shape)


def sdxl() -> Any:
    """SDXL-Turbo."""
    with torch.device("meta"):
        large = transformers.CLIPTextConfig(
            hidden_size=1280, intermediate_size=5120, num_hidden_layers=32,
            num_attention_heads=20, projection_dim=1280, hidden_act="gelu",
        )
        small = transformers.CLIPTextConfig(
            hidden_size=768, intermediate_size=3072, num_hidden_layers=12,
            num_attention_heads=12, projection_dim=768,
        )
        unet = UNet2DConditionModel(
            sample_size=64, block_out_channels=(320, 640, 1280), layers_per_block=2,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 2, 10), attention_head_dim=(5, 10, 20),
            cross_attention_dim=2048, use_linear_projection=True,
            addition_embed_type="text_time", addition_time_embed_dim=256,
            projection_class_embeddings_input_dim=2816,
        )
        parts = {
            "vae": _kl(4, scaling_factor=0.13025, force_upcast=True),
            "unet": unet,
            "text_encoder": transformers.CLIPTextModel(small),
            "text_encoder_2": transformers.CLIPTextModelWithProjection(large),
        }
    scheduler = EulerAncestralDiscreteScheduler(
        beta_schedule="scaled_linear", timestep_spacing="trailing"
    )
    pipeline = StableDiffusionXLPipeline(
        **parts, scheduler=scheduler, tokenizer=tiny.tokenizer(), tokenizer_2=tiny.tokenizer()
    )
    _answer(pipeline.text_encoder, "forward", _clip)
    _answer(pipeline.text_encoder_2, "forward", _clip)
    _answer(pipeline.unet, "forward", lambda _, x, *__, **___: (zeros(*x.shape),))
    _answer(pipeline.vae, "decode", _picture(8))
    return _whole(pipeline)


def flux2_klein() -> Any:
    """FLUX.2-klein-4B."""
    with torch.device("meta"):
        parts = {
            "vae": AutoencoderKLFlux2(),
            "text_encoder": _qwen3(),
            "transformer": Flux2Transformer2DModel(
                num_layers=5, num_single_layers=20, num_attention_heads=24,
                joint_attention_dim=7680, guidance_embeds=False,
            ),
        }
    pipeline = Flux2KleinPipeline(
        **parts, scheduler=FlowMatchEulerDiscreteScheduler(**SHIFTING),
        tokenizer=tiny.tokenizer(512), is_distilled=True,
    )
    _answer(pipeline.text_encoder, "forward", _language)
    _answer(pipeline.transformer, "forward", _alike)
    _answer(pipeline.vae, "decode", _picture(8))
    return _whole(pipeline)


def z_image() -> Any:
    """Z-Image-Turbo."""
    with torch.device("meta"):
        vae = _kl(16, scaling_factor=0.3611, shift_factor=0.1159, use_quant_conv=False,
                  use_post_quant_conv=False)
        parts = {
            "vae": vae, "text_encoder": _qwen3(), "transformer": ZImageTransformer2DModel(),
        }
    pipeline = ZImagePipeline(
        **parts, scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        tokenizer=tiny.tokenizer(512),
    )
    _answer(pipeline.text_encoder, "forward", _language)
    _answer(
        pipeline.transformer, "forward",
        lambda _, latents, *__, **___: ([zeros(*one.shape) for one in latents],),
    )
    _answer(pipeline.vae, "decode", _picture(8))
    return _whole(pipeline)


def qwen_image() -> Any:
    """Qwen-Image."""
    text = {
        "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28,
        "num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152064,
        "rope_scaling": {"mrope_section": [16, 24, 24], "rope_type": "default"},
    }
    with torch.device("meta"):
        config = transformers.Qwen2_5_VLConfig(
            text_config=text, vision_config={"out_hidden_size": 3584}
        )
        parts = {
            "vae": AutoencoderKLQwenImage(),
            "text_encoder": transformers.Qwen2_5_VLForConditionalGeneration(config),
            "transformer": QwenImageTransformer2DModel(),
        }
    pipeline = QwenImagePipeline(
        **parts, scheduler=FlowMatchEulerDiscreteScheduler(**SHIFTING),
        tokenizer=tiny.tokenizer(1024),
    )
    _answer(pipeline.text_encoder, "forward", _language)
    _answer(pipeline.transformer, "forward", _alike)
    _answer(
        pipeline.vae, "decode",
        lambda _, x, **__: (zeros(len(x), 3, 1, 8 * x.shape[-2], 8 * x.shape[-1]),),
    )
    return _whole(pipeline)


SHORT = MappingProxyType({"max_sequence_length": 64})
"""Long embeddings are the device's work, and not what is measured."""

TREES = (
    Tree("SDXL", sdxl, 0.0),
    Tree("FLUX.2-klein-4B", flux2_klein, 1.0, SHORT),
    Tree("Z-Image-Turbo", z_image, 0.0, SHORT),
    Tree("Qwen-Image", qwen_image, None, MappingProxyType({"true_cfg_scale": 1.0})),
)


def _kl(channels: int, **more: Any) -> Any:
    return AutoencoderKL(
        block_out_channels=CHANNELS, layers_per_block=2, latent_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        sample_size=1024, **more,
    )


def _qwen3() -> Any:
    """Qwen3-4B."""
    config = transformers.Qwen3Config(
        hidden_size=2560, intermediate_size=9728, num_hidden_layers=36, num_attention_heads=32,
        num_key_value_heads=8, head_dim=128, vocab_size=151936,
    )
    return transformers.Qwen3ForCausalLM(config)


def _clip(module: Any, ids: Tensor, **_: Any) -> Any:
    config, kind = module.config, type(module)
    last = zeros(*ids.shape, config.hidden_size)
    states = (last,) * (config.num_hidden_layers + 1)
    if "Projection" in kind.__name__:
        pooled = zeros(len(ids), config.projection_dim)
        return CLIPTextModelOutput(pooled, last_hidden_state=last, hidden_states=states)
    pooled = zeros(len(ids), config.hidden_size)
    return BaseModelOutputWithPooling(last, pooler_output=pooled, hidden_states=states)


def _language(module: Any, input_ids: Tensor, **_: Any) -> Any:
    config = module.config.get_text_config()
    state = zeros(*input_ids.shape, config.hidden_size)
    logits = zeros(*input_ids.shape, config.vocab_size)
    states = (state,) * (config.num_hidden_layers + 1)
    return CausalLMOutputWithPast(logits=logits, hidden_states=states)


def _alike(_: Any, hidden_states: Tensor, **__: Any) -> Any:
    return (zeros(*hidden_states.shape),)


def _picture(scale: int) -> Callable[..., Any]:
    def decode(_: Any, latents: Tensor, **__: Any) -> Any:
        rows, _channels, height, width = latents.shape
        return (zeros(rows, 3, scale * height, scale * width),)

    return decode


def _answer(module: nn.Module, method: str, answer: Callable[..., Any]) -> None:
    """Have a method answered without its module's forward."""
    setattr(module, method, lambda *args, **kwargs: answer(module, *args, **kwargs))


def _whole(pipeline: Any) -> Any:
    """The pipeline with weights that take no memory, ready to be called."""
    for part in pipeline.components.values():
        for module in part.modules() if isinstance(part, nn.Module) else ():
            for name, weight in module.named_parameters(recurse=False):
                whole = nn.Parameter(zeros(*weight.shape), requires_grad=False)
                module.register_parameter(name, whole)
            for name, buffer in module.named_buffers(recurse=False):
                module.register_buffer(name, torch.zeros(buffer.shape, dtype=buffer.dtype))
            module.eval()
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
