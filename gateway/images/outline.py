"""Canny's edges (Canny 1986): where brightness changes most, as thin white lines on black."""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Floats = NDArray[np.float32]
MAX_PIXELS = 2**22
"""That are worked on: more is more than any model is shown, and takes a gigabyte."""

_BLUR: Floats = np.array([0.0545, 0.2442, 0.4026, 0.2442, 0.0545], dtype=np.float32)
"""Of a standard deviation of one pixel."""

_SLOPE: Floats = np.array([-0.5, 0, 0.5], dtype=np.float32)
_RISE: Floats = np.array([0.25, 0.5, 0.25], dtype=np.float32)


def outlined(picture: Image.Image, low: float, high: float) -> Image.Image:
    """The edges of a picture: those steeper than `high`, and what goes on from them over `low`.

    Brightness is in [0, 1], its slope by Sobel's filter per pixel.
    """
    if picture.width * picture.height > MAX_PIXELS:
        fewer = math.sqrt(MAX_PIXELS / (picture.width * picture.height))
        size = max(1, int(picture.width * fewer)), max(1, int(picture.height * fewer))
        drawn = outlined(picture.resize(size, Image.Resampling.BOX), low, high)
        return drawn.resize(picture.size, Image.Resampling.NEAREST)
    grey = np.asarray(picture.convert("L")).astype(np.float32) / np.float32(255)
    blurred = _along(grey, _BLUR, _BLUR)
    across, down = _along(blurred, _SLOPE, _RISE), _along(blurred, _RISE, _SLOPE)
    slope = np.hypot(across, down)
    thin = np.where(_is_crest(slope, across, down), slope, 0)
    found = _connected(thin > high, thin > low)
    return Image.fromarray(found.astype(np.uint8) * 255).convert("RGB")


def _along(values: Floats, row: Floats, column: Floats) -> Floats:
    """Filtered along rows, then along columns; the border goes on as it is."""
    for kernel, axis in ((row, 1), (column, 0)):
        reach = len(kernel) // 2
        width = [(0, 0), (0, 0)]
        width[axis] = (reach, reach)
        padded = np.pad(values, width, mode="edge")
        length = values.shape[axis]
        parts = (
            weight * np.take(padded, range(at, at + length), axis=axis)
            for at, weight in enumerate(kernel)
        )
        values = sum(parts, np.zeros_like(values))
    return values


def _is_crest(slope: Floats, across: Floats, down: Floats) -> NDArray[np.bool_]:
    """Where no neighbour up or down the slope is steeper, by the nearest of four directions."""
    angle = np.round(np.arctan2(down, across) / (np.pi / 4)).astype(np.int8) % 4
    padded = np.pad(slope, 1)
    height, width = slope.shape
    crest = np.zeros(slope.shape, dtype=np.bool_)
    for direction, (y, x) in enumerate(((0, 1), (1, 1), (1, 0), (1, -1))):
        one = padded[1 + y : 1 + y + height, 1 + x : 1 + x + width]
        other = padded[1 - y : 1 - y + height, 1 - x : 1 - x + width]
        crest |= (angle == direction) & (slope >= one) & (slope > other)
    return crest


def _connected(strong: NDArray[np.bool_], weak: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The strong, and the weak that touch them, also over others; each is looked at once."""
    width = strong.shape[1] + 2
    left = np.pad(weak & ~strong, 1).ravel()
    found = np.pad(strong, 1).ravel()
    around = np.array([-width - 1, -width, -width + 1, -1, 1, width - 1, width, width + 1])
    front = np.flatnonzero(found)
    while len(front):
        near = (front[:, None] + around).ravel()
        front = np.unique(near[left[near]])
        left[front] = False
        found[front] = True
    return found.reshape(strong.shape[0] + 2, width)[1:-1, 1:-1]
