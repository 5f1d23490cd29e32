"""IP-Adapters: a UNet that is shown pictures beside its prompt.

diffusers replaces the processors of a UNet's attention for that. Here a twin of it has them,
whose layers are the UNet's own: nothing of the one that others use changes, LoRA acts in both,
and all who are shown pictures as strongly share the twin's forwards.
"""

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from diffusers.models.embeddings import MultiIPAdapterImageProjection
from torch import Tensor, nn

from gateway.catalog.cards import CardError, ControlCard
from gateway.catalog.folders import CONFIG, ENCODER
from gateway.catalog.heads.endings import WEIGHTS, lying_in
from gateway.engine.weights.files import safe_open

UNET = "unet"
PROJECTION = "image_proj"
SECTIONS = (PROJECTION, "ip_adapter")
"""Of which a file has weights: what reads a picture's features, and what each attention adds."""

_WHOLE = {"low_cpu_mem_usage": False}
"""A lack of weights is told, and not left for later."""


class ImagePrompt(NamedTuple):
    """An IP-Adapter: what it adds to each attention, and what reads the pictures it is shown.

    `processors` are by the paths of a UNet's, `projection` makes words of a picture's features.
    """

    processors: dict[str, Any]
    projection: nn.Module
    encoder: nn.Module
    extractor: Any

    @property
    def size_bytes(self) -> int:
        """Bytes of all its weights."""
        own = [one for one in self.processors.values() if isinstance(one, nn.Module)]
        modules = (*own, self.projection, self.encoder)
        weights = (one for module in modules for one in module.parameters())
        return sum(one.numel() * one.element_size() for one in weights)


def is_image_prompt(place: Path) -> bool:
    """Whether a folder holds an IP-Adapter, by what reads its pictures."""
    return (place / ENCODER).is_dir()


def read_image_prompt(card: ControlCard, pipeline: Any, device: torch.device) -> ImagePrompt:
    """An IP-Adapter, on a device and in the dtype of a pipeline's UNet.

    Call it where modules may be built; see `construction.CONSTRUCTION`.

    Raises:
        CardError: it is none, or not for such a pipeline.
    """
    unet = getattr(pipeline, UNET, None)
    if unet is None or not hasattr(pipeline, "load_ip_adapter"):
        raise CardError(f"{type(pipeline).__name__} takes no IP-Adapter", card.path)
    files = lying_in(card.place, WEIGHTS)
    if len(files) != 1:
        raise CardError(f"wanted one file that ends in {WEIGHTS} beside {ENCODER}", card.path)
    weights: dict[str, dict[str, Tensor]] = {section: {} for section in SECTIONS}
    with safe_open(files[0], "pt") as file:
        for name in file.keys():  # noqa: SIM118
            section, _, rest = name.partition(".")
            if section in weights:
                weights[section][rest] = file.get_tensor(name).to(device, unet.dtype)
    if not all(weights.values()):
        raise CardError(f"{files[0].name}: no IP-Adapter", card.path)
    try:  # by halves: diffusers' whole would put the processors into the UNet, and cast that
        processors = unet._convert_ip_adapter_attn_to_diffusers([weights], **_WHOLE)
        projection = unet._convert_ip_adapter_image_proj_to_diffusers(weights[PROJECTION], **_WHOLE)
    except (ValueError, RuntimeError, LookupError, TypeError) as error:
        told = f"no IP-Adapter for {type(pipeline).__name__}: {error}"
        raise CardError(told, card.path) from error
    for module in (projection, *processors.values()):
        if isinstance(module, nn.Module):
            module.to(device, unet.dtype).eval().requires_grad_(False)
    encoder: Any = _encoder(card, unet.dtype).to(device).eval().requires_grad_(False)
    size = encoder.config.image_size
    extractor = transformers.CLIPImageProcessor(size=size, crop_size=size)
    return ImagePrompt(processors, projection, encoder, extractor)


def around(pipeline: Any, prompts: Sequence[ImagePrompt], scales: Sequence[float]) -> Any:
    """The same pipeline with a twin of its UNet that is shown pictures, each at a scale.

    Nothing is built but what holds layers, so that it can be done beside any loading.
    """
    own, first = copy.copy(pipeline), prompts[0]
    twin = _twin(pipeline.unet)
    twin.set_attn_processor(
        {
            path: _together([prompt.processors[path] for prompt in prompts], scales)
            for path in first.processors
        }
    )
    twin.encoder_hid_proj = MultiIPAdapterImageProjection([one.projection for one in prompts])
    twin.register_to_config(encoder_hid_dim_type="ip_image_proj")
    # Not by setattr, which would write the pipeline's config anew.
    vars(own).update({UNET: twin, ENCODER: first.encoder, "feature_extractor": first.extractor})
    return own


def _together(processors: Sequence[Any], scales: Sequence[float]) -> Any:
    """What several add to one attention, each at its scale; some attention none adds to."""
    own: Any = copy.copy(processors[0])
    if isinstance(processors[0], nn.Module):
        lists = {
            name: nn.ModuleList(one for each in processors for one in getattr(each, name))
            for name in own._modules
        }
        numbers = [number for each in processors for number in each.num_tokens]
        vars(own).update(_modules=lists, scale=list(scales), num_tokens=numbers)
    return own


def _encoder(card: ControlCard, dtype: torch.dtype) -> nn.Module:
    folder = card.place / ENCODER
    try:
        (architecture,) = json.loads((folder / CONFIG).read_bytes())["architectures"]
        kind = getattr(transformers, str(architecture))
        encoder: nn.Module = kind.from_pretrained(str(folder), dtype=dtype, use_safetensors=True)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise CardError(f"{ENCODER}: cannot be loaded: {error}", card.path) from error
    return encoder


def _twin(module: Any) -> Any:
    """A module of the same layers: what holds them is copied, and parked nowhere."""
    if next(module.children(), None) is None:
        return module
    own = copy.copy(module)
    vars(own).pop("forward", None)
    vars(own)["_modules"] = {name: one and _twin(one) for name, one in module._modules.items()}
    return own
