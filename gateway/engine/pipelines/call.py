"""How a job becomes a call of a stock pipeline: its own copy, its scheduler, its arguments."""

import copy
import functools
import inspect
import itertools
import math
import types
import weakref
from collections.abc import Hashable, Mapping
from typing import Any

import msgspec
import torch
from diffusers import ConfigMixin, DiffusionPipeline
from diffusers.image_processor import VaeImageProcessor
from PIL import Image

from gateway.engine.pipelines.modular import SHORTENED, is_modular
from gateway.engine.pipelines.pixels import to_image
from gateway.engine.pipelines.reading import beside, beside_turns
from gateway.engine.pipelines.schedulers import made, scheduler_class
from gateway.engine.pipelines.weighting import weighted
from gateway.errors import UnsupportedValue
from gateway.job import ControlUse, Job, Pixels
from gateway.remarks import Remark, no_effect

Parameters = Mapping[str, inspect.Parameter]
BLANK, WHITE = "gray", 255
"""What an inpainter is given to repaint all of, where nobody brings a picture or a mask."""

RESAMPLING = Image.Resampling.LANCZOS
SHOWN = "shown_pictures"
"""A pipeline's attribute: at which places among a job's pictures are those for IP-Adapters."""

MODES = ("num_control_type", "num_mode")
"""How configurations of ControlNets say how many kinds of pictures they read."""

WINDOW = "max_sequence_length"
"""The argument by which a pipeline bounds a tokenizer that has no end of its own."""

_devices: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()


def prepare(pipeline: Any, job: Job) -> Any:
    """A sample's own pipeline: shared modules, and all else that counts or remembers alone."""
    copies: dict[int, Any] = {}
    if (scheduler := getattr(pipeline, "scheduler", None)) is not None:
        copies[id(scheduler)] = _scheduler(scheduler, job)
    return _own(pipeline, copies)


def _own(pipeline: Any, copies: dict[int, Any]) -> Any:
    """A copy whose modules are shared; what is inside two of its parts stays one thing."""
    own: Any = copy.copy(pipeline)
    for name, value in vars(pipeline).items():
        if id(value) not in copies:
            if isinstance(value, DiffusionPipeline):
                copies[id(value)] = _own(value, copies)
            elif isinstance(value, ConfigMixin) and not isinstance(value, torch.nn.Module):
                copies[id(value)] = _copied(value)
                if isinstance(value, VaeImageProcessor):
                    own_kind: Any = type(value)
                    copies[id(value)].__class__ = beside_turns(own_kind)
        if id(value) in copies:
            # Not by setattr, which would write the pipeline's config anew for every sample.
            vars(own)[name] = copies[id(value)]
    # It would put offloading hooks anew on modules that others are using.
    vars(own)["maybe_free_model_hooks"] = _nothing
    kind: Any = type(pipeline)
    own.__class__ = _settled(kind)
    own.settled_device = _device(pipeline)
    return own


def arguments(pipeline: Any, job: Job, seed: int) -> dict[str, Any]:
    """The keyword arguments of the call: those of the job that the pipeline knows.

    Raises:
        UnsupportedValue: the job brings pictures that the pipeline has no argument for.
    """
    known = known_arguments(pipeline)
    wanted: dict[str, Any] = {
        "prompt": job.prompt,
        "num_inference_steps": job.num_inference_steps,
        "height": job.height,
        "width": job.width,
        "generator": torch.Generator("cpu").manual_seed(seed),
        "output_type": "pt",
        "num_images_per_prompt": 1,
    }
    if job.guidance_scale is not None:
        wanted["guidance_scale"] = job.guidance_scale
    if job.negative_prompt is not None:
        wanted["negative_prompt"] = job.negative_prompt
    if job.prompts == "weighted":
        wanted |= {"prompt": None, "negative_prompt": None} | weighted(pipeline, known, job)
    given = {name: value for name, value in wanted.items() if name in known}
    if job.images or "mask_image" in known:
        given |= _inputs(pipeline, known, job)
    if job.controls:
        given |= _controls(pipeline, known, job)
    return given | _extra(known, job)


def unused(pipeline: Any, job: Job) -> list[Remark]:
    """What a job says that its pipeline's call has no argument for."""
    name = type(pipeline).__name__
    said = dict(job.arguments)
    if job.images:
        said["strength"] = job.strength
    if any(one.mode is not None for one in job.controls):
        said["control_mode"] = [one.mode for one in job.controls]
    shown: frozenset[int] = getattr(pipeline, SHOWN, frozenset())
    spans = {(one.start, one.end) for place, one in enumerate(job.controls) if place in shown}
    if spans - {(0.0, 1.0)}:
        said["control_guidance_start"] = said["control_guidance_end"] = sorted(spans)
    return [
        no_effect(argument, f"the pipeline of this endpoint, {name}, takes none")
        for argument, value in said.items()
        if value is not None and not hears(type(pipeline), argument)
    ]


def hears(kind: Any, argument: str) -> bool:
    """Whether a pipeline's call does something with an argument.

    Many swallow any, for the sake of old names that they look for themselves.
    """
    return argument in _parameters(kind) or argument in _code(kind).co_consts


def window(kind: Any, given: Mapping[str, Any]) -> int | None:
    """How many tokens of a prompt a pipeline's call says that it takes, with some arguments."""
    known = _parameters(kind)
    bound = given.get(WINDOW, known[WINDOW].default if WINDOW in known else None)
    return bound if isinstance(bound, int) else None


def known_arguments(pipeline: Any) -> Parameters:
    """The parameters of a pipeline's call, by name."""
    kind: Any = type(pipeline)
    return _parameters(kind)


def steps_to_ask(pipeline: Any, num_inference_steps: int, strength: float) -> int:
    """The step count to ask for so that the wanted number is run at a strength.

    Pipelines that redraw a picture skip the first of the steps asked for, rounding up or
    down as the family does; its own `get_timesteps` is tried until it leaves as many.
    """
    own = copy.copy(pipeline)
    order = getattr(pipeline.scheduler, "order", 1)
    asked = max(num_inference_steps, math.floor((num_inference_steps - 1) / strength))
    while True:
        left = types.SimpleNamespace(timesteps=torch.arange(asked * order), order=order)
        vars(own)["scheduler"] = left
        if own.get_timesteps(asked, strength, torch.device("cpu"))[1] >= num_inference_steps:
            return asked
        asked += 1


def _device(pipeline: Any) -> Any:
    if pipeline not in _devices:
        _devices[pipeline] = getattr(pipeline, "_execution_device", None)
    return _devices[pipeline]


@functools.cache
def _settled(kind: Hashable) -> type:
    """A pipeline's class whose device is looked up once.

    diffusers walks every module for it, ten times a call: a quarter of a tiny model's time.
    """
    assert isinstance(kind, type)
    device = property(lambda self: self.settled_device)
    return type(kind.__name__, (kind,), {"_execution_device": device})


@functools.cache
def _parameters(kind: Hashable) -> Parameters:
    assert isinstance(kind, type)
    return inspect.signature(kind.__call__).parameters


def _inputs(pipeline: Any, known: Parameters, job: Job) -> dict[str, Any]:
    name = type(pipeline).__name__
    if "image" not in known:
        raise UnsupportedValue(f"{name} takes no image.", param="image")
    # One that redraws repaints the picture it is given, at that picture's size.
    size = (job.width, job.height) if "strength" in known else None
    images = [
        beside(pixels.width * pixels.height, functools.partial(_rgb, pixels, size))
        for pixels in job.images
    ]
    images = images or [Image.new("RGB", (job.width, job.height), BLANK)]
    given: dict[str, Any] = {"image": images if len(images) > 1 else images[0]}
    if "mask_image" in known:
        given["mask_image"] = _mask(job)
    elif job.mask is not None:
        raise UnsupportedValue(f"{name} takes no mask.", param="mask")
    if "strength" in known:
        default = known["strength"].default
        strength = default if job.strength is None else job.strength
        given["strength"] = strength
        if _cuts_steps(pipeline):
            asked = steps_to_ask(pipeline, job.num_inference_steps, strength)
            given["num_inference_steps"] = asked
    return given


def _controls(pipeline: Any, known: Parameters, job: Job) -> dict[str, Any]:
    """What each ControlNet is shown, how strongly it acts, and when: lists where there are more.

    Raises:
        UnsupportedValue: one is not told what it is shown, and reads pictures of several kinds.
    """
    shown: frozenset[int] = getattr(pipeline, SHOWN, frozenset())
    if shown:
        others = [one for place, one in enumerate(job.controls) if place not in shown]
        images = [_shown(one) for place, one in enumerate(job.controls) if place in shown]
        plain = msgspec.structs.replace(job, controls=tuple(others))
        beside_them = _net_controls(pipeline, known, plain) if others else {}
        return {"ip_adapter_image": images} | beside_them
    return _net_controls(pipeline, known, job)


def _net_controls(pipeline: Any, known: Parameters, job: Job) -> dict[str, Any]:
    nets = getattr(pipeline.controlnet, "nets", None) or [pipeline.controlnet]
    for one, net in zip(job.controls, itertools.cycle(nets), strict=False):
        _check_mode(one, net)
    wanted: dict[str, list[Any]] = {
        "control_image" if "control_image" in known else "image": [
            _shown(one) for one in job.controls
        ],
        "controlnet_conditioning_scale": [one.scale for one in job.controls],
        "control_guidance_start": [one.start for one in job.controls],
        "control_guidance_end": [one.end for one in job.controls],
        "control_mode": [one.mode for one in job.controls],
    }
    return {
        name: values if len(values) > 1 else values[0]
        for name, values in wanted.items()
        if name in known
    }


def _shown(use: ControlUse) -> Image.Image:
    """The picture that a net or an IP-Adapter is shown."""
    pixels = use.image
    return beside(pixels.width * pixels.height, functools.partial(_rgb, pixels, None))


def _check_mode(use: ControlUse, net: Any) -> None:
    num_modes = next((net.config[key] for key in MODES if net.config.get(key)), 0)
    if num_modes and (use.mode is None or use.mode >= num_modes):
        raise UnsupportedValue(
            f"The ControlNet '{use.route}' reads pictures of {num_modes} kinds; wanted the 'mode' "
            f"of each, from 0 to {num_modes - 1}.",
            param="control_images",
        )


def _rgb(pixels: Pixels, size: tuple[int, int] | None) -> Image.Image:
    image = to_image(pixels).convert("RGB")
    return image.resize(size, RESAMPLING) if size else image


def _mask(job: Job) -> Image.Image:
    """What is to be repainted, in white: all of it where nobody says."""
    size = (job.width, job.height)
    if job.mask is None:
        return Image.new("L", size, WHITE)
    return to_image(job.mask).convert("L").resize(size, Image.Resampling.NEAREST)


def _cuts_steps(pipeline: Any) -> bool:
    """Whether a strength shortens the steps; latent consistency spaces as many over less."""
    kind = type(pipeline)
    is_made_of_blocks = is_modular(kind) and hasattr(kind, SHORTENED)
    return is_made_of_blocks or SHORTENED in _code(kind).co_names


def _code(kind: Any) -> types.CodeType:
    """A pipeline's call, compiled."""
    code: types.CodeType = inspect.unwrap(kind.__call__).__code__
    return code


def _extra(known: Parameters, job: Job) -> dict[str, Any]:
    """The job's extra arguments, without those that the pipeline does not know."""
    return {name: value for name, value in job.arguments.items() if _takes(known, name)}


def _takes(known: Parameters, name: str) -> bool:
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values())
    return name in known or takes_any


def _scheduler(scheduler: Any, job: Job) -> Any:
    """A copy of the pipeline's scheduler, or one of the class the job names.

    Raises:
        UnsupportedValue: diffusers has no such class.
    """
    if job.scheduler is None and not job.scheduler_config:
        return _copied(scheduler)
    kind = scheduler_class(job.scheduler) if job.scheduler else type(scheduler)
    if kind is None:
        raise UnsupportedValue(f"There is no scheduler '{job.scheduler}'.", param="scheduler")
    return made(scheduler, kind, job.scheduler_config)


def _copied(part: Any) -> Any:
    """A copy that remembers alone; what it was made from never changes, and is most of it."""
    config = getattr(part, "config", None)  # which what a pipeline's blocks are made of has not
    copies: dict[int, Any] = {id(config): config}
    for value in vars(part).values():
        if isinstance(value, torch.Tensor):
            copies[id(value)] = value.clone()  # a sixth of what `deepcopy` takes for it
    return copy.deepcopy(part, copies)


def _nothing() -> None:
    pass
