"""Pictures that runs begin with: loaded, decoded, resized and masked."""

from io import BytesIO

from PIL import Image, ImageChops, ImageFilter, ImageOps

from gateway.errors import InvalidRequest, TooLarge
from gateway.job import Pixels
from gateway.runs.graph.values import Invert, Mask, Resize

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


def changed(picture: Image.Image, changes: tuple[Resize | Invert, ...]) -> Image.Image:
    """A picture after what a graph does to it."""
    for change in changes:
        picture = _resized(picture, change) if isinstance(change, Resize) else _inverted(picture)
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


def _resized(picture: Image.Image, change: Resize) -> Image.Image:
    width, height = change.target(*picture.size)
    if width * height > MAX_PIXELS:
        raise TooLarge(f"{width}x{height} is over {MAX_PIXELS} pixels.")
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
