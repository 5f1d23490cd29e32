"""How a job becomes a call of a stock pipeline: which class, which arguments, what result."""

import copy
import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gateway.errors import UnsupportedValue
from gateway.job import Job, Pixels

OnStep = Callable[[Any, int, Any, dict[str, Any]], dict[str, Any]]


def prepare(pipeline: Any, job: Job) -> Any:
    """A sample's own pipeline: shared modules, and a scheduler that counts its steps alone."""
    own = copy.copy(pipeline)
    if getattr(own, "scheduler", None) is not None:
        own.scheduler = _scheduler(own.scheduler, job)
    own.set_progress_bar_config(disable=True)
    return own


def arguments(pipeline: Any, job: Job, seed: int, on_step: OnStep) -> dict[str, Any]:
    """The keyword arguments of the call: those of the job that the pipeline knows.

    Raises:
        UnsupportedValue: the job asks for something that the pipeline has no argument for.
    """
    known = known_arguments(pipeline)
    wanted: dict[str, Any] = {
        "prompt": job.prompt,
        "num_inference_steps": job.num_inference_steps,
        "height": job.height,
        "width": job.width,
        "generator": torch.Generator("cpu").manual_seed(seed),
        "output_type": "pt",
        "callback_on_step_end": on_step,
        "num_images_per_prompt": 1,
    }
    if job.guidance_scale is not None:
        wanted["guidance_scale"] = job.guidance_scale
    if job.negative_prompt is not None:
        wanted["negative_prompt"] = job.negative_prompt
    given = {name: value for name, value in wanted.items() if name in known}
    given |= _inputs(known, job, type(pipeline).__name__)
    given |= _extra(known, job)
    return given


def known_arguments(pipeline: Any) -> Mapping[str, inspect.Parameter]:
    """The parameters of a pipeline's call, by name."""
    return inspect.signature(type(pipeline).__call__).parameters


def steps_to_ask(num_inference_steps: int, strength: float) -> int:
    """The step count that makes diffusers run the wanted number at a strength.

    Image-to-image pipelines run `int(asked * strength)` of the steps asked for.
    """
    asked = math.ceil(num_inference_steps / strength)
    while int(asked * strength) < num_inference_steps:
        asked += 1
    return asked


def to_pixels(image: Tensor) -> Pixels:
    """A picture `[channels, height, width]` in [0, 1] as uint8; converted on its device."""
    channels, height, width = image.shape
    data = (image.float() * 255).round().clamp(0, 255).to(torch.uint8)
    flat = data.permute(1, 2, 0).contiguous().cpu().numpy()
    return Pixels(width, height, channels, flat.tobytes())


def first_image(result: Any) -> Tensor:
    """The picture in a pipeline's result, `[channels, height, width]` in [0, 1]."""
    images = result.images if hasattr(result, "images") else result[0]
    image = images[0]
    if isinstance(image, Tensor):
        return image
    array = np.asarray(image, dtype=np.float32) / (255 if isinstance(image, Image.Image) else 1)
    return torch.from_numpy(array).permute(2, 0, 1)


def to_image(pixels: Pixels) -> Image.Image:
    """An input picture as pipelines take it."""
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[pixels.channels]
    return Image.frombytes(mode, (pixels.width, pixels.height), pixels.data)


def _inputs(known: Mapping[str, Any], job: Job, name: str) -> dict[str, Any]:
    if not job.images:
        return {}
    images = [to_image(pixels).convert("RGB") for pixels in job.images]
    given: dict[str, Any] = {"image": images if len(images) > 1 else images[0]}
    if job.mask is not None:
        if "mask_image" not in known:
            raise UnsupportedValue(f"{name} takes no mask.", param="mask")
        given["mask_image"] = to_image(job.mask).convert("L")
    if "strength" in known:
        strength = 1.0 if job.strength is None else job.strength
        given["strength"] = strength
        given["num_inference_steps"] = steps_to_ask(job.num_inference_steps, strength)
    return given


def _extra(known: Mapping[str, Any], job: Job) -> dict[str, Any]:
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values())
    return {name: value for name, value in job.arguments.items() if takes_any or name in known}


def _scheduler(scheduler: Any, job: Job) -> Any:
    """A copy of the pipeline's scheduler, or one of the class the job names."""
    if job.scheduler is None and not job.scheduler_config:
        return copy.deepcopy(scheduler)
    import diffusers  # noqa: PLC0415

    kind = getattr(diffusers, job.scheduler) if job.scheduler else type(scheduler)
    return kind.from_config(scheduler.config, **job.scheduler_config)
