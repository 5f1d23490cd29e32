"""Pictures between torch and bytes: what a pipeline returns, and what a job brings."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gateway.engine.device.pacing import Command
from gateway.job import Pixels

MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def first_image(result: Any) -> Tensor:
    """The picture in a pipeline's result, `[channels, height, width]` in [0, 1]."""
    images = result.images if hasattr(result, "images") else result[0]
    image = images[0]
    if isinstance(image, Tensor):
        return image
    array = np.asarray(image, dtype=np.float32) / (255 if isinstance(image, Image.Image) else 1)
    return torch.from_numpy(array).permute(2, 0, 1)


def deliver(
    image: Tensor, then: Callable[[Pixels | None], None], follow: Callable[[Command], None]
) -> None:
    """Convert a picture to uint8 on its device, and call with it once it is in host memory.

    Numbers that are not finite are no picture: `then` is called with None. The copy is not
    waited for here: `then` follows the device.
    """
    is_finite = image.sum(dtype=torch.float32).isfinite()  # of numbers in [0, 1]
    data = image.float().mul(255).round_().clamp_(0, 255).to(torch.uint8)
    data = data.permute(1, 2, 0).contiguous()
    host, told = _host(data), _host(is_finite)
    follow(lambda: then(_pixels(host) if told else None))


def to_image(pixels: Pixels) -> Image.Image:
    """An input picture as pipelines take it."""
    size = (pixels.width, pixels.height)
    return Image.frombytes(MODES[pixels.channels], size, pixels.data)


def _host(data: Tensor) -> Tensor:
    """A tensor in host memory: pinned, and being copied into, where it comes from a GPU."""
    if data.device.type != "cuda":
        return data.cpu()
    host = torch.empty(data.shape, dtype=data.dtype, pin_memory=True)
    return host.copy_(data, non_blocking=True)


def _pixels(data: Tensor) -> Pixels:
    height, width, channels = data.shape
    return Pixels(width, height, channels, data.numpy().tobytes())
