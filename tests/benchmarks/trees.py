"""The module trees of real models without their weights, answered at once.

Built on `meta` (`architectures.py`); then every weight is one zero that is expanded to its
shape, on the CPU, so that a pipeline finds device, dtype and size of each module as it would.
What a forward returns has the right shape and is all zeros: whatever time a picture takes is the
host's.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPooling, CausalLMOutputWithPast
from transformers.models.clip.modeling_clip import CLIPTextModelOutput

from tests.benchmarks import architectures

SHORT = MappingProxyType({"max_sequence_length": 64})
"""Long embeddings are the device's work, and not what is measured."""


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
    pipeline = _hollow("sdxl")
    _answer(pipeline.text_encoder, "forward", _clip)
    _answer(pipeline.text_encoder_2, "forward", _clip)
    _answer(pipeline.unet, "forward", lambda _, x, *__, **___: (zeros(*x.shape),))
    _answer(pipeline.vae, "decode", _picture(8))
    return pipeline


def flux2_klein() -> Any:
    """FLUX.2-klein-4B."""
    pipeline = _hollow("flux2_klein")
    _answer(pipeline.text_encoder, "forward", _language)
    _answer(pipeline.transformer, "forward", _alike)
    _answer(pipeline.vae, "decode", _picture(8))
    return pipeline


def z_image() -> Any:
    """Z-Image-Turbo."""
    pipeline = _hollow("z_image")
    _answer(pipeline.text_encoder, "forward", _language)
    _answer(
        pipeline.transformer, "forward",
        lambda _, latents, *__, **___: ([zeros(*one.shape) for one in latents],),
    )
    _answer(pipeline.vae, "decode", _picture(8))
    return pipeline


def qwen_image() -> Any:
    """Qwen-Image."""
    pipeline = _hollow("qwen_image")
    _answer(pipeline.text_encoder, "forward", _language)
    _answer(pipeline.transformer, "forward", _alike)
    _answer(
        pipeline.vae, "decode",
        lambda _, x, **__: (zeros(len(x), 3, 1, 8 * x.shape[-2], 8 * x.shape[-1]),),
    )
    return pipeline


TREES = (
    Tree("SDXL", sdxl, 0.0),
    Tree("FLUX.2-klein-4B", flux2_klein, 1.0, SHORT),
    Tree("Z-Image-Turbo", z_image, 0.0, SHORT),
    Tree("Qwen-Image", qwen_image, None, MappingProxyType({"true_cfg_scale": 1.0})),
)


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


def _hollow(family: str) -> Any:
    """A pipeline whose weights are there by shape, take no memory, and are on the CPU."""
    pipeline = architectures.build(family, "meta", torch.float32)
    for part in pipeline.components.values():
        for module in part.modules() if isinstance(part, nn.Module) else ():
            for name, weight in module.named_parameters(recurse=False):
                whole = nn.Parameter(zeros(*weight.shape), requires_grad=False)
                module.register_parameter(name, whole)
            for name, buffer in module.named_buffers(recurse=False):
                module.register_buffer(name, torch.zeros(buffer.shape, dtype=buffer.dtype))
    return pipeline
