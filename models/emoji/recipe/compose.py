"""Pictures to learn from: a subject placed on a plain background, in batches on the device."""

import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from paint import Paint
from subjects import STYLES
from torch import Tensor

COLOURS = {
    "white": (255, 255, 255),
    "black": (20, 20, 20),
    "gray": (140, 140, 140),
    "red": (220, 40, 40),
    "orange": (245, 140, 40),
    "yellow": (250, 215, 70),
    "green": (60, 165, 75),
    "blue": (45, 95, 210),
    "sky blue": (130, 200, 245),
    "purple": (140, 70, 190),
    "pink": (250, 150, 190),
    "brown": (130, 85, 50),
    "teal": (30, 150, 150),
    "beige": (240, 225, 195),
}
SHADES = {
    "grey": (140, 140, 140),
    "dark red": (150, 20, 30),
    "crimson": (190, 20, 60),
    "gold": (230, 180, 50),
    "light green": (150, 220, 150),
    "dark green": (20, 95, 45),
    "lime": (150, 215, 50),
    "light blue": (150, 200, 245),
    "dark blue": (25, 45, 125),
    "navy": (25, 35, 95),
    "cyan": (50, 205, 225),
    "turquoise": (60, 195, 185),
    "violet": (140, 70, 190),
    "lavender": (190, 165, 235),
    "magenta": (220, 50, 160),
    "hot pink": (245, 80, 160),
    "silver": (190, 195, 200),
    "cream": (250, 240, 215),
}
"""Colours that lessons name now and then; the evaluation asks for the others alone."""
COLOUR_NAMES = tuple(COLOURS)
PALETTE = torch.tensor(list(COLOURS.values()), dtype=torch.float32) / 255
FIXED_SCALE = 0.8
NUM_CANDIDATES = 3
"""Of so many backgrounds, the one is taken from which a subject stands out the most."""


class Drawings:
    """The rasterised subjects of all styles, `[N, 4, 128, 128]` uint8 each."""

    def __init__(self, work: Path, device: torch.device) -> None:
        self.device = device
        self.styles = {
            style: torch.from_numpy(np.load(work / f"{style}.npy")).permute(0, 3, 1, 2).contiguous()
            for style in STYLES
        }

    def __len__(self) -> int:
        return len(self.styles["flat"])

    def compose(
        self,
        style: str,
        index: Tensor,
        colour: Tensor,
        *,
        variation: float,
        paint: Paint | None = None,
    ) -> Tensor:
        """Place subjects, painted where that is asked for, on backgrounds.

        `index` `[batch]` chooses subjects, `colour` `[batch, 3]` is RGB in [0, 1];
        `variation` from 0 (fixed place) to 1 (scale 0.62 to 0.95, tilt, shift).
        Returns `[batch, 3, 128, 128]` in [-1, 1].
        """
        subjects = self._subjects(style, index)
        placed = _placed(paint.on(subjects) if paint else subjects, variation)
        alpha = placed[:, 3:]
        return (placed[:, :3] + (1 - alpha) * colour[:, :, None, None].to(self.device)) * 2 - 1

    def alpha(self, style: str, index: Tensor) -> Tensor:
        """How opaque subjects at the fixed place are, `[batch, 1, 128, 128]` in [0, 1]."""
        return _placed(self._subjects(style, index), 0.0)[:, 3:]

    def standing_out(self, style: str, index: Tensor, paint: Paint) -> Tensor:
        """Backgrounds `[batch, 3]` that differ from most of the subjects before them."""
        subjects = paint.on(self._subjects(style, index))
        alpha = subjects[:, 3:]
        mean = (subjects[:, :3] * alpha).sum((2, 3)) / alpha.sum((2, 3))
        offered = torch.stack([random_colours(len(index)) for _ in range(NUM_CANDIDATES)], 1)
        apart = (offered - mean.cpu()[:, None]).square().sum(2)
        return offered[torch.arange(len(index)), apart.argmax(1)]

    def _subjects(self, style: str, index: Tensor) -> Tensor:
        """RGBA `[batch, 4, 128, 128]` in [0, 1]."""
        return self.styles[style][index.cpu()].to(self.device, torch.float32) / 255


def _placed(rgba: Tensor, variation: float) -> Tensor:
    """Subjects put in their place; colours multiplied by opacity."""
    rgba = torch.cat([rgba[:, :3] * rgba[:, 3:], rgba[:, 3:]], 1)
    grid = F.affine_grid(_placement(len(rgba), variation), list(rgba.shape), align_corners=False)
    return F.grid_sample(rgba, grid.to(rgba.device), align_corners=False)


def random_colours(count: int) -> Tensor:
    """`[count, 3]` background colours, near a named one or anything."""
    named = PALETTE[torch.randint(len(PALETTE), (count,))] + 0.03 * torch.randn(count, 3)
    anything = torch.rand(count, 3)
    return torch.where(torch.rand(count, 1) < 0.6, named, anything).clamp(0, 1)


def _placement(count: int, variation: float) -> Tensor:
    """Inverse affine matrices `[count, 2, 3]` of scale, tilt and shift."""
    scale = FIXED_SCALE + variation * (torch.empty(count).uniform_(0.62, 0.95) - FIXED_SCALE)
    angle = variation * torch.randn(count) * math.radians(8)
    shift = variation * torch.empty(count, 2).uniform_(-0.5, 0.5) * (1 - scale)[:, None]
    cos, sin = torch.cos(angle) / scale, torch.sin(angle) / scale
    matrix = torch.stack([torch.stack([cos, sin], 1), torch.stack([-sin, cos], 1)], 1)
    return torch.cat([matrix, -(matrix @ shift[:, :, None])], 2)
