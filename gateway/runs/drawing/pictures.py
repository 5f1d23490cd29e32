"""What graphs do to pictures, a change at a time: resized, inverted, cut, padded, masked."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops

from gateway.errors import TooLarge
from gateway.images.decode import MAX_EDGE, MAX_PIXELS, is_beyond
from gateway.images.outline import outlined
from gateway.images.scale import scaled
from gateway.runs.graph.values import Change, Crop, Edges, Invert, Mask, Pad, Resize, size_after

Bytes = NDArray[np.uint8]
_METHODS = {
    "nearest-exact": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "area": Image.Resampling.BOX,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def flat(picture: Image.Image) -> Image.Image:
    """Without its alpha channel, as ComfyUI loads pictures."""
    return picture.convert("RGB")


def changed(picture: Image.Image, change: Change) -> Image.Image:
    """A picture after one thing that a graph does to it.

    Raises:
        TooLarge: it would be too large.
    """
    check_pixels(size_after(change, picture.size))
    match change:
        case Resize():
            return _resized(picture, change)
        case Invert():
            return _inverted(picture)
        case Crop():
            return _cut(picture, change)
        case Pad():
            return _padded(picture, change)
        case Edges():
            return outlined(flat(picture), change.low, change.high)


def check_pixels(size: tuple[int, int]) -> None:
    """Refuse a picture that is too large to be made.

    Raises:
        TooLarge: it would have more than `MAX_PIXELS`, or `MAX_EDGE` along an edge.
    """
    if is_beyond(size):
        most = f"{MAX_PIXELS} pixels, or {MAX_EDGE} along an edge"
        raise TooLarge(f"{size[0]}x{size[1]} is over {most}.")


def mask_of(picture: Image.Image, mask: Mask) -> Image.Image:
    """The channel a mask reads: white where the picture is to be redrawn."""
    bands = dict(zip(picture.getbands(), picture.split(), strict=True))
    if mask.channel == "alpha":
        alpha = bands.get("A")
        # Without transparency ComfyUI's mask is empty: nothing is redrawn.
        found = ImageChops.invert(alpha) if alpha else Image.new("L", picture.size, 0)
    else:
        found = bands[mask.channel[0].upper()]
    return _grown(found, mask.grow) if mask.grow else found


def _grown(mask: Image.Image, pixels: int) -> Image.Image:
    """The highest value within so many pixels each way: once along rows, once along columns."""
    found = np.array(mask)
    for lines in (found, found.T):
        reach = 0
        while reach < pixels:
            step = min(reach + 1, pixels - reach)
            before = lines.copy()
            np.maximum(lines[step:], before[:-step], out=lines[step:])
            np.maximum(lines[:-step], before[step:], out=lines[:-step])
            reach += step
    return Image.fromarray(found)


def _inverted(picture: Image.Image) -> Image.Image:
    return ImageChops.invert(flat(picture))


def _cut(picture: Image.Image, change: Crop) -> Image.Image:
    width, height = change.target(*picture.size)
    left, top = min(change.x, picture.width - 1), min(change.y, picture.height - 1)
    return picture.crop((left, top, left + width, top + height))


def _padded(picture: Image.Image, change: Pad) -> Image.Image:
    width, height = change.target(*picture.size)
    found = Image.new("RGBA", (width, height), (128, 128, 128, 0))
    kept = flat(picture)
    kept.putalpha(Image.fromarray(_kept(picture.size, change)))
    found.paste(kept, (change.left, change.top))
    return found


def _kept(size: tuple[int, int], change: Pad) -> Bytes:
    """How much of each pixel is kept, `[height, width]`: less towards a padded edge."""
    feather = change.feather if change.feather * 2 < min(size) else 0
    across = _kept_along(size[0], feather, change.left > 0, change.right > 0)
    down = _kept_along(size[1], feather, change.top > 0, change.bottom > 0)
    return np.minimum(across, down[:, None])


def _kept_along(length: int, feather: int, fades_in: bool, fades_out: bool) -> Bytes:
    """The same along one edge, by the distance to its nearer padded end, `[length]`."""
    places, far = np.arange(length, dtype=np.float64), np.inf
    near = np.minimum(places if fades_in else far, places[::-1] if fades_out else far)
    open_part = np.clip((feather - near) / max(feather, 1), 0, 1) ** 2
    kept: Bytes = (255 * (1 - open_part)).round().astype(np.uint8)
    return np.broadcast_to(kept, (length,))


def _resized(picture: Image.Image, change: Resize) -> Image.Image:
    width, height = change.target(*picture.size)
    if change.crop:
        picture = _cropped(picture, width / height)
    return scaled(picture, (width, height), _METHODS[change.method])


def _cropped(picture: Image.Image, aspect: float) -> Image.Image:
    """The middle of a picture, in another aspect."""
    width, height = picture.size
    if width / height > aspect:
        width = max(1, round(height * aspect))
    else:
        height = max(1, round(width / aspect))
    left, top = (picture.width - width) // 2, (picture.height - height) // 2
    return picture.crop((left, top, left + width, top + height))
