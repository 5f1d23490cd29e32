"""Painting: a subject in another colour, as it would be drawn if it had always been that colour.

What is black or white in a picture are outlines, eyes, teeth: they stay, unless there is too
much of them. The rest takes the colour asked for, each part lighter or darker as it was before.
Lightness and hue are those of Oklab (Ottosson 2020, https://bottosson.github.io/posts/oklab).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

RELIEF = 0.55
"""How much of the difference in lightness between two parts stays."""
DARK, LIGHT = (0.30, 0.42), (0.97, 0.91)
"""From where to where in lightness a part goes over from kept to painted."""
PALE = (0.02, 0.06)
"""From where to where in chroma what is light goes over from kept to painted."""
MOST_KEPT = 0.35
"""Where more of a subject would stay as it is, the larger of dark and light is painted too."""
_TO_CONES = torch.tensor(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_TO_LAB = torch.tensor(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


@dataclass(frozen=True)
class Paint:
    """Colours `[batch, 3]`, RGB in [0, 1], and which of them are asked for, `[batch]`."""

    colours: Tensor
    asked: Tensor

    @classmethod
    def none(cls, count: int) -> "Paint":
        """No colour asked for, so many times."""
        return cls(torch.zeros(count, 3), torch.zeros(count, dtype=torch.bool))

    def on(self, rgba: Tensor) -> Tensor:
        """Subjects `[batch, 4, height, width]` in [0, 1], painted where that is asked for."""
        found = rgba.clone()
        asked = self.asked.to(rgba.device)
        if asked.any():
            found[asked] = painted(rgba[asked], self.colours.to(rgba)[asked])
        return found


def painted(rgba: Tensor, colour: Tensor) -> Tensor:
    """Subjects `[batch, 4, height, width]` in colours `[batch, 3]`; all in [0, 1]."""
    lab, alpha = to_oklab(rgba[:, :3]), rgba[:, 3:]
    lightness = lab[:, :1]
    paint = _to_paint(lab, alpha)
    weight = paint * alpha
    main = (lightness * weight).sum((2, 3)) / weight.sum((2, 3)).clamp(min=1e-6)
    wanted = to_oklab(colour[:, :, None, None]).expand_as(lab).clone()
    wanted[:, :1] += RELIEF * (lightness - main[:, :, None, None])
    return torch.cat([paint * to_rgb(wanted) + (1 - paint) * rgba[:, :3], alpha], 1)


def _to_paint(lab: Tensor, alpha: Tensor) -> Tensor:
    """Which part of each pixel takes the colour, `[batch, 1, height, width]`."""
    lightness, chroma = lab[:, :1], lab[:, 1:].norm(dim=1, keepdim=True)
    dark = 1 - _ramp(lightness, *DARK)
    light = (1 - _ramp(lightness, *LIGHT)) * (1 - _ramp(chroma, *PALE))
    darkness, brightness = _share(dark, alpha), _share(light, alpha)
    is_crowded = darkness + brightness > MOST_KEPT
    dark = dark * ~(is_crowded & (darkness >= brightness))
    light = light * ~(is_crowded & (brightness > darkness))
    return 1 - dark - light


def to_oklab(rgb: Tensor) -> Tensor:
    """Oklab of sRGB in [0, 1], both `[batch, 3, height, width]`."""
    linear = torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055).pow(2.4))
    cones = torch.einsum("ij,bjhw->bihw", _TO_CONES.to(rgb), linear)
    return torch.einsum("ij,bjhw->bihw", _TO_LAB.to(rgb), cones.clamp(min=0).pow(1 / 3))


def to_rgb(lab: Tensor) -> Tensor:
    """sRGB in [0, 1] of Oklab, the nearest there is channel by channel."""
    cones = torch.einsum("ij,bjhw->bihw", torch.linalg.inv(_TO_LAB).to(lab), lab).pow(3)
    linear = torch.einsum("ij,bjhw->bihw", torch.linalg.inv(_TO_CONES).to(lab), cones)
    linear = linear.clamp(0, 1)
    return torch.where(
        linear <= 0.0031308, linear * 12.92, 1.055 * linear.pow(1 / 2.4) - 0.055
    ).clamp(0, 1)


def _ramp(values: Tensor, start: float, end: float) -> Tensor:
    return ((values - start) / (end - start)).clamp(0, 1)


def _share(part: Tensor, alpha: Tensor) -> Tensor:
    """How much of each subject a part of it is, `[batch, 1, 1, 1]`."""
    whole = alpha.sum((1, 2, 3), keepdim=True).clamp(min=1e-6)
    return (part * alpha).sum((1, 2, 3), keepdim=True) / whole
