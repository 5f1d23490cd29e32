"""Pictures that runs begin with: loaded, decoded, resized and masked."""

from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageFilter, ImageOps

from gateway.errors import InvalidRequest, TooLarge
from gateway.job import Pixels
from gateway.runs.graph.values import Change, Crop, Invert, Mask, Pad, Resize

MAX_PIXELS = 64_000_000
_METHODS = {
    "nearest-exact": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "area": Image.Resampling.BOX,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def decode(data: bytes) -> Image.Image:
    """An encoded picture, upright, as RGB or RGBA.

    Raises:
        InvalidRequest: it is no picture.
        TooLarge: it has more than `MAX_PIXELS`.
    """
    try:
        with Image.open(BytesIO(data)) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                raise TooLarge(f"A picture has over {MAX_PIXELS} pixels.")
            picture = ImageOps.exif_transpose(opened)
            has_alpha = "A" in picture.getbands() or "transparency" in picture.info
            return picture.convert("RGBA" if has_alpha else "RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InvalidRequest(f"A picture could not be read: {error}.") from None


def from_pixels(pixels: Pixels) -> Image.Image:
    """Raw pixels as a picture."""
    size = (pixels.width, pixels.height)
    return Image.frombytes(_MODES[pixels.channels], size, pixels.data)


def to_pixels(picture: Image.Image) -> Pixels:
    """A picture as raw pixels."""
    return Pixels(picture.width, picture.height, len(picture.getbands()), picture.tobytes())


def flat(picture: Image.Image) -> Image.Image:
    """Without its alpha channel, as ComfyUI loads pictures."""
    return picture.convert("RGB")


def changed(picture: Image.Image, changes: tuple[Change, ...]) -> Image.Image:
    """A picture after what a graph does to it."""
    for change in changes:
        match change:
            case Resize():
                picture = _resized(picture, change)
            case Invert():
                picture = _inverted(picture)
            case Crop():
                picture = _cut(picture, change)
            case Pad():
                picture = _padded(picture, change)
    return picture


def mask_of(picture: Image.Image, mask: Mask) -> Image.Image:
    """The channel a mask reads: white where the picture is to be redrawn."""
    bands = dict(zip(picture.getbands(), picture.split(), strict=True))
    if mask.channel == "alpha":
        alpha = bands.get("A")
        # Without transparency ComfyUI's mask is empty: nothing is redrawn.
        found = ImageChops.invert(alpha) if alpha else Image.new("L", picture.size, 0)
    else:
        found = bands[mask.channel[0].upper()]
    for _ in range(mask.grow):
        found = found.filter(ImageFilter.MaxFilter(3))
    return found


def _inverted(picture: Image.Image) -> Image.Image:
    return ImageChops.invert(flat(picture))


def _cut(picture: Image.Image, change: Crop) -> Image.Image:
    width, height = change.target(*picture.size)
    left, top = min(change.x, picture.width - 1), min(change.y, picture.height - 1)
    return picture.crop((left, top, left + width, top + height))


def _padded(picture: Image.Image, change: Pad) -> Image.Image:
    width, height = change.target(*picture.size)
    _check_pixels(width, height)
    found = Image.new("RGBA", (width, height), (128, 128, 128, 0))
    kept = flat(picture)
    kept.putalpha(Image.fromarray(_kept(picture.size, change)))
    found.paste(kept, (change.left, change.top))
    return found


def _kept(size: tuple[int, int], change: Pad) -> NDArray[np.uint8]:
    """How much of each pixel is kept, `[height, width]`: less towards a padded edge."""
    width, height = size
    across, down = np.arange(width), np.arange(height)
    far = np.float64(np.inf)
    x = np.minimum(across if change.left else far, width - 1 - across if change.right else far)
    y = np.minimum(down if change.top else far, height - 1 - down if change.bottom else far)
    near = np.minimum(np.broadcast_to(x, (width,)), np.broadcast_to(y, (height,))[:, None])
    feather = change.feather if change.feather * 2 < min(size) else 0
    open_part = np.clip((feather - near) / max(feather, 1), 0, 1) ** 2
    kept: NDArray[np.uint8] = (255 * (1 - open_part)).round().astype(np.uint8)
    return kept


def _check_pixels(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise TooLarge(f"{width}x{height} is over {MAX_PIXELS} pixels.")


def _resized(picture: Image.Image, change: Resize) -> Image.Image:
    width, height = change.target(*picture.size)
    _check_pixels(width, height)
    if change.crop:
        picture = _cropped(picture, width / height)
    return picture.resize((width, height), _METHODS[change.method])


def _cropped(picture: Image.Image, aspect: float) -> Image.Image:
    """The middle of a picture, in another aspect."""
    width, height = picture.size
    if width / height > aspect:
        width = max(1, round(height * aspect))
    else:
        height = max(1, round(width / aspect))
    left, top = (picture.width - width) // 2, (picture.height - height) // 2
    return picture.crop((left, top, left + width, top + height))
