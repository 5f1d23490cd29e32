"""Pictures to learn from: a subject placed on a plain background, in batches on the device."""

import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
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
COLOUR_NAMES = tuple(COLOURS)
PALETTE = torch.tensor(list(COLOURS.values()), dtype=torch.float32) / 255
FIXED_SCALE = 0.8


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

    def compose(self, style: str, index: Tensor, colour: Tensor, *, variation: float) -> Tensor:
        """Place subjects on backgrounds.

        `index` `[batch]` chooses subjects, `colour` `[batch, 3]` is RGB in [0, 1];
        `variation` from 0 (fixed place) to 1 (scale 0.62 to 0.95, tilt, shift).
        Returns `[batch, 3, 128, 128]` in [-1, 1].
        """
        placed = self._placed(style, index, variation)
        alpha = placed[:, 3:]
        return (placed[:, :3] + (1 - alpha) * colour[:, :, None, None].to(self.device)) * 2 - 1

    def alpha(self, style: str, index: Tensor) -> Tensor:
        """How opaque subjects at the fixed place are, `[batch, 1, 128, 128]` in [0, 1]."""
        return self._placed(style, index, 0.0)[:, 3:]

    def _placed(self, style: str, index: Tensor, variation: float) -> Tensor:
        """RGBA `[batch, 4, 128, 128]` in [0, 1], colours multiplied by opacity."""
        rgba = self.styles[style][index.cpu()].to(self.device, torch.float32) / 255
        rgba[:, :3] *= rgba[:, 3:]
        grid = F.affine_grid(
            _placement(len(index), variation), list(rgba.shape), align_corners=False
        )
        return F.grid_sample(rgba, grid.to(self.device), align_corners=False)


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
