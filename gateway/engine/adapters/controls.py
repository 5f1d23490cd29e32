"""ControlNets: reading them, and a family's own pipeline around an endpoint's modules.

Each net is a module whose calls are parked like any other, so that samples that are shown
different pictures share its forwards.
"""

import inspect
import json
import re
import sys
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import diffusers
import torch
from diffusers import ModelMixin
from diffusers.loaders.single_file_utils import convert_controlnet_checkpoint
from safetensors.torch import load_file
from torch import nn

from gateway.catalog.cards import CardError, ControlCard
from gateway.catalog.folders import CONFIG, ENCODER
from gateway.engine.adapters import pictured
from gateway.engine.adapters.pictured import ImagePrompt
from gateway.engine.pipelines.call import SHOWN
from gateway.engine.pipelines.parking import Entry, SampleGreenlet, StillTo, entries_of
from gateway.engine.pipelines.shared import share
from gateway.errors import UnsupportedValue
from gateway.job import ControlUse

COMPONENT = "controlnet"
_SHOWN, _HALVING = "controlnet_cond_embedding", range(1, 16, 2)
"""The part that reads the picture, and which of its layers are followed by smaller ones."""

_KINDS = "task_embedding"
"""What a net has that reads pictures of several kinds: a row for each."""

_TASK = re.compile(r"(Img2Img|Inpaint)?Pipeline$")


NUM_TWINS = 8
"""Twins of a denoiser that are kept: one for each scale that pictures are asked for with."""


class Twin(NamedTuple):
    """A pipeline that is shown pictures, by which adapters, and around which it was built."""

    names: Sequence[str]
    pipeline: Any
    built: Any


class Controls:
    """The ControlNets in memory for one pipeline, by the names they have there, and IP-Adapters."""

    def __init__(self) -> None:
        self._nets: dict[str, nn.Module | ImagePrompt] = {}
        self._entries: dict[str, list[Entry]] = {}
        self._pipelines: dict[tuple[int, tuple[str, ...]], Any] = {}
        self._twins: dict[Hashable, Twin] = {}

    @property
    def names(self) -> list[str]:
        """Those in memory."""
        return list(self._nets)

    def add(self, name: str, net: nn.Module | ImagePrompt) -> None:
        """Keep a net, or what a twin of the denoiser is made with, its entry points parked."""
        self._nets[name] = net
        part = (ENCODER, net.encoder) if isinstance(net, ImagePrompt) else (COMPONENT, net)
        self._entries[name] = _parked(*part)

    def drop(self, name: str) -> list[Entry]:
        """Forget a net; returns its entry points, which are no more."""
        del self._nets[name]
        self._pipelines = {key: one for key, one in self._pipelines.items() if name not in key[1]}
        self._twins = {key: one for key, one in self._twins.items() if name not in one.names}
        entries = self._entries.pop(name)
        for entry in entries:
            entry.unpark()
        return entries

    def around(self, pipeline: Any, names: Sequence[str], uses: Sequence[ControlUse]) -> Any:
        """The family's pipeline that shows some nets pictures, built from the same modules.

        Those of IP-Adapters are shown to a twin of its denoiser, one for each of their scales.

        Raises:
            UnsupportedValue: the family has none.
        """
        nets = {name: net for name in names if isinstance(net := self._nets[name], nn.Module)}
        if nets:
            plain = tuple(name for name in names if name in nets)
            key = (id(pipeline), plain)
            if key not in self._pipelines:
                self._pipelines[key] = self._built(pipeline, [nets[name] for name in plain])
            pipeline = self._pipelines[key]
        shown = {
            place: (name, use.scale)
            for place, (name, use) in enumerate(zip(names, uses, strict=False))
            if name not in nets
        }
        return self._shown(pipeline, shown) if shown else pipeline

    def _shown(self, pipeline: Any, shown: dict[int, tuple[str, float]]) -> Any:
        names = [name for name, _ in shown.values()]
        key = (id(pipeline), *shown.items())
        if key not in self._twins:
            prompts = [one for name in names if isinstance(one := self._nets[name], ImagePrompt)]
            built = pictured.around(pipeline, prompts, [scale for _, scale in shown.values()])
            _parked(pictured.UNET, built.unet)
            vars(built)[SHOWN] = frozenset(shown)
            while len(self._twins) >= NUM_TWINS:
                del self._twins[next(iter(self._twins))]
            self._twins[key] = Twin(names, pipeline, built)
        return self._twins[key].built

    def _built(self, pipeline: Any, nets: list[nn.Module]) -> Any:
        found = control_class(type(pipeline), nets)
        if found is None:
            raise UnsupportedValue(
                f"{type(pipeline).__name__} has no form for ControlNets.", param="control_images"
            )
        expected, _ = found._get_signature_keys(found)
        modules = {name: one for name, one in pipeline.components.items() if name in expected}
        is_one = len(nets) == 1 or (_is_union(nets[0]) and len(set(nets)) == 1)
        modules[COMPONENT] = nets[0] if is_one else _together(nets)
        builder = SampleGreenlet(lambda: found.from_pipe(pipeline, **modules))
        builder.is_alone = True  # some give a net what it shares with the denoiser, for good
        try:
            built = builder.switch()
        except (TypeError, ValueError, AttributeError) as error:
            raise UnsupportedValue(
                f"{found.__name__} takes no such ControlNets: {error}", param="control_images"
            ) from error
        built.set_progress_bar_config(disable=True)
        return built


def _parked(component: str, module: nn.Module) -> list[Entry]:
    """The entry points of a module, parked."""
    entries = [*entries_of({component: module}), StillTo(component, module)]
    for entry in entries:
        entry.park()
    share([module])
    return entries


def control_class(kind: type, nets: Sequence[nn.Module] = ()) -> Any:
    """The pipeline of a pipeline's family and task that takes ControlNets; None without one."""
    name, what = kind.__name__, "ControlNetUnion" if any(map(_is_union, nets)) else "ControlNet"
    for spelt in (rf"{what}\g<0>", rf"{what}\1ingPipeline"):
        if found := getattr(diffusers, _TASK.sub(spelt, name), None):
            return found
    return None


def _union(weights: dict[str, Any], unet: Any, **more: Any) -> nn.Module:
    """A net that is one file and reads pictures of several kinds."""
    kind = diffusers.ControlNetUnionModel
    config = {name: value for name, value in unet.config.items()
              if name in inspect.signature(kind).parameters}  # fmt: skip
    more["num_control_type"], more["num_trans_channel"] = weights[_KINDS].shape
    more["num_proj_channel"] = weights["spatial_ch_projs.weight"].shape[0]
    net: nn.Module = kind(**config | more)
    net.load_state_dict(weights)
    return net.to(unet.dtype)


def _together(nets: list[nn.Module]) -> Any:
    """Several nets as their family has them: as one module, where pipelines do not make it."""
    kind = type(nets[0])
    name = kind.__name__.replace("ControlNetModel", "MultiControlNetModel")
    many = getattr(sys.modules[kind.__module__], name, None)
    if many is None:
        return nets
    shows_all_to_one = "len" in many.forward.__code__.co_names
    module = many(nets[:1] if shows_all_to_one and len(set(nets)) == 1 else nets)
    forward = module.forward

    def told(*args: Any, **kwargs: Any) -> Any:
        try:
            return forward(*args, **kwargs)
        except ValueError as error:
            raise UnsupportedValue(str(error), param="control_images") from error

    module.forward = told
    return module


def _is_union(net: nn.Module) -> bool:
    """Whether it is of the class that is shown several pictures at once."""
    return isinstance(net, diffusers.ControlNetUnionModel)


def read_control(
    card: ControlCard, pipeline: Any, device: torch.device
) -> nn.Module | ImagePrompt:
    """A ControlNet or an IP-Adapter, on a device and in the dtype of a pipeline's denoiser.

    Call it where modules may be built; see `construction.CONSTRUCTION`.

    Raises:
        CardError: it is none, or not for such a pipeline.
    """
    if pictured.is_image_prompt(card.place):
        return pictured.read_image_prompt(card, pipeline, device)
    if control_class(type(pipeline)) is None:
        raise CardError(f"{type(pipeline).__name__} has no form for ControlNets", card.path)
    denoiser = pipeline.components.get("unet") or pipeline.components["transformer"]
    try:
        read = _from_folder if card.place.is_dir() else _from_file
        net = read(card, denoiser)
    except (OSError, ValueError, RuntimeError, LookupError, TypeError) as error:
        raise CardError(f"cannot be loaded: {error}", card.path) from error
    lacking = [name for name, weight in net.state_dict().items() if weight.is_meta]
    if lacking:
        raise CardError(f"its files lack the weights '{lacking[0]}'", card.path)
    return net.to(device).eval().requires_grad_(False)


def _from_folder(card: ControlCard, denoiser: Any) -> nn.Module:
    config = json.loads((card.place / CONFIG).read_bytes())
    name = config.get("_class_name") if isinstance(config, dict) else None
    kind: Any = getattr(diffusers, str(name), None)
    is_model = isinstance(kind, type) and issubclass(kind, ModelMixin)
    if not is_model or "ControlNet" not in str(name):
        raise CardError(f"{CONFIG}: '{name}' is no ControlNet of diffusers", card.path)
    net: nn.Module = kind.from_pretrained(
        str(card.place), dtype=denoiser.dtype, use_safetensors=True
    )
    return net


def _from_file(card: ControlCard, unet: Any) -> nn.Module:
    """A net that is one file: as large as the UNet that it goes with."""
    if not hasattr(unet, "down_blocks"):
        raise CardError("a single file is read for UNets only; wanted a folder", card.path)
    weights, kind = load_file(card.place), diffusers.ControlNetModel
    channels = [
        weights[name].shape[0]
        for name in (f"{_SHOWN}.conv_in.weight", *(f"{_SHOWN}.blocks.{n}.weight" for n in _HALVING))
        if name in weights
    ]
    more = {"conditioning_embedding_out_channels": tuple(channels)} if channels else {}
    if _KINDS in weights:
        return _union(weights, unet, **more)
    net: nn.Module = kind.from_unet(unet, load_weights_from_unet=False, **more)
    if not channels:  # the layout of the first program that had any
        weights = convert_controlnet_checkpoint(weights, net.config)
    net.load_state_dict(weights)
    return net.to(unet.dtype)
