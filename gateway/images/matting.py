"""Transparent backgrounds, cut out of finished pictures that stand on a plain one."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.job import Pixels

EDGE_PIXELS = 2
SAME = 0.10
"""How far from the background's colour, per channel in [0, 1], a pixel still belongs to it."""
APART = 0.35
"""From where on a pixel at the outline is all subject; between, it is partly transparent."""
OUTLINE_PIXELS = 2
Mask = NDArray[np.bool_]
Colours = NDArray[np.floating[Any]]


def cut_out(pixels: Pixels) -> Pixels:
    """The picture as RGBA with straight alpha, its plain background transparent.

    Only what is connected to the edge goes: a white eye on white stays. At the outline the
    background's share is taken out of the colour too, so that none of it shines around the
    subject elsewhere.
    """
    shape = (pixels.height, pixels.width, pixels.channels)
    colours = np.frombuffer(pixels.data, np.uint8).reshape(shape)[:, :, :3].astype(np.float32) / 255
    background = np.median(_edge(colours), axis=0)
    distance = np.abs(colours - background).max(axis=2)
    outside = _connected(distance < SAME)
    outline = _grown(outside, OUTLINE_PIXELS) & ~outside
    partial = np.clip((distance - SAME) / (APART - SAME), 0, 1)
    alpha = np.where(outside, 0, np.where(outline, partial, 1))[:, :, None]
    clean = (colours - (1 - alpha) * background) / np.maximum(alpha, 0.05)
    rgba = np.concatenate([np.clip(clean, 0, 1), alpha], axis=2)
    data = (rgba * 255).round().astype(np.uint8).tobytes()
    return Pixels(pixels.width, pixels.height, 4, data)


def _edge(colours: Colours) -> Colours:
    """The colours `[count, 3]` of the outermost pixels."""
    depth = EDGE_PIXELS
    sides = (colours[:depth], colours[-depth:], colours[:, :depth], colours[:, -depth:])
    return np.concatenate([side.reshape(-1, 3) for side in sides])


def _connected(alike: Mask) -> Mask:
    """Of the pixels that are alike those that a path of such pixels joins to the edge."""
    found = np.zeros_like(alike)
    found[[0, -1]], found[:, [0, -1]] = alike[[0, -1]], alike[:, [0, -1]]
    count = -1
    while count != (count := int(found.sum())):
        for _ in range(max(alike.shape) // 4):
            found = _grown(found, 1) & alike
    return found


def _grown(mask: Mask, pixels: int) -> Mask:
    """The mask and everything within so many pixels of it, not diagonally."""
    for _ in range(pixels):
        wide = mask.copy()
        wide[1:] |= mask[:-1]
        wide[:-1] |= mask[1:]
        wide[:, 1:] |= mask[:, :-1]
        wide[:, :-1] |= mask[:, 1:]
        mask = wide
    return mask
