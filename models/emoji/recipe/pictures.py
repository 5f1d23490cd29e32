"""What can be said of a picture by itself: its background, its subject, a colour's name."""

import torch
import torch.nn.functional as F
from compose import PALETTE
from torch import Tensor

SAME, APART = 0.08, 0.28
"""How far a pixel is from the background's colour where it is all background, all subject."""
FRAME = 112


def border(picture: Tensor) -> Tensor:
    """The median colour `[3]` of a picture's outermost four pixels."""
    edge = torch.cat(
        [
            picture[:, :4].flatten(1),
            picture[:, -4:].flatten(1),
            picture[:, :, :4].flatten(1),
            picture[:, :, -4:].flatten(1),
        ],
        1,
    )
    return edge.median(1).values


def subject_share(picture: Tensor) -> Tensor:
    """How much of each pixel of a picture `[3, 128, 128]` is subject, `[128, 128]` in [0, 1]."""
    apart = (picture - border(picture)[:, None, None]).abs().amax(0)
    return ((apart - SAME) / (APART - SAME)).clamp(0, 1)


def on_white(picture: Tensor) -> Tensor:
    """The subject of a picture `[3, 128, 128]` on white, its longer side filling the frame."""
    share = subject_share(picture)
    cut = share * picture + 1 - share
    rows, columns = ((share > 0.5).sum(axis).ge(3).nonzero().flatten() for axis in (1, 0))
    if len(rows) < 2 or len(columns) < 2:
        return cut
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    scale = FRAME / int(max(bottom - top, right - left))
    height, width = (max(1, round(int(edge) * scale)) for edge in (bottom - top, right - left))
    subject = F.interpolate(
        cut[None, :, top:bottom, left:right], (height, width), mode="bilinear", antialias=True
    )
    framed = torch.ones_like(picture)
    y, x = (picture.shape[1] - height) // 2, (picture.shape[2] - width) // 2
    framed[:, y : y + height, x : x + width] = subject[0]
    return framed


def nearest_colour(colour: Tensor) -> int:
    """The position in the palette of the nearest named colour."""
    return int((PALETTE - colour).square().sum(1).argmin())


def percent(found: list[bool]) -> float:
    """How many are true, in percent, to one decimal."""
    return round(100 * sum(found) / len(found), 1)
