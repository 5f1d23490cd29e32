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
Places = NDArray[np.intp]


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
    outside = joined_to_edge(distance < SAME)
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


def joined_to_edge(alike: Mask) -> Mask:
    """Of the pixels that are alike those that a path of such pixels joins to the edge.

    Pixels of a row that touch are one run, and runs that touch get one label: a labyrinth
    takes no longer than many runs do.
    """
    height, width = alike.shape
    steps = np.diff(np.pad(alike, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, starts = np.nonzero(steps == 1)
    ends = np.nonzero(steps == -1)[1]
    labels = _labels(len(rows), *_touching(rows, starts, ends, width))
    at_edge = (rows == 0) | (rows == height - 1) | (starts == 0) | (ends == width)
    is_outside = np.zeros(len(rows), np.bool_)
    is_outside[labels[at_edge]] = True
    kept = is_outside[labels]
    changes = np.zeros((height, width + 1), np.int8)
    changes[rows[kept], starts[kept]] = 1
    changes[rows[kept], ends[kept]] = -1
    return np.cumsum(changes, axis=1, dtype=np.int8)[:, :width] > 0


def _touching(rows: Places, starts: Places, ends: Places, width: int) -> tuple[Places, Places]:
    """The pairs of runs, by number, that lie over each other in neighbouring rows."""
    below, stride = (rows + 1) * (width + 1), width + 1
    first = np.searchsorted(rows * stride + ends, below + starts, side="right")
    last = np.searchsorted(rows * stride + starts, below + ends, side="left")
    counts = np.maximum(last - first, 0)
    upper = np.repeat(np.arange(len(rows)), counts)
    number = np.arange(len(upper)) - np.repeat(np.cumsum(counts) - counts, counts)
    return upper, first[upper] + number


def _labels(count: int, ones: Places, others: Places) -> Places:
    """The least of the things from 0 to `count` that each is joined to by pairs.

    Labels that meet take the lower one, and whatever had the higher follows at once, which
    leaves far fewer of them each time (Liu and Tarjan, 2019).
    """
    labels = np.arange(count)
    while len(ones):
        higher, lower = np.maximum(ones, others), np.minimum(ones, others)
        np.minimum.at(labels, higher, lower)
        while not np.array_equal(labels, shorter := labels[labels]):
            labels = shorter
        ones, others = labels[ones], labels[others]
        is_apart = ones != others
        ones, others = ones[is_apart], others[is_apart]
    return labels


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
