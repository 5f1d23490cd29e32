"""Pictures that clients send: sniffed by content, bounded before they are decoded.

Decoding takes up to a second: `Darkroom.do` keeps it off the event loop.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from itertools import islice

from PIL import Image, ImageChops, ImageOps

from gateway.errors import InvalidRequest, shortened
from gateway.job import Pixels

FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
MAX_PIXELS = 40_000_000
"""Some 6300 pixels square: 160 MB as RGBA, several times what any model takes."""

MAX_EDGE = 32_768
"""Every row costs time and memory of its own: a pillar of one pixel's width 15 s."""

MAX_SCANS = 64
"""Of a progressive JPEG, each as long as a whole decoding; encoders write about ten."""

MAX_TEXTS, MAX_TEXT_CHARACTERS = 32, 20_000
"""Of a picture, each."""

_SCAN = b"\xff\xda"
_ORIENTATION = 0x0112
_TURNED = range(5, 9)
_PNG_EXIF = (b"eXIf", b"Raw profile type")
_MODES = {"L": 1, "RGB": 3, "RGBA": 4}


def decode(data: bytes, param: str) -> Image.Image:
    """A picture upright, as RGB or RGBA; the first frame of an animation.

    Raises:
        InvalidRequest: not a whole PNG, JPEG, WebP or GIF, or too many pixels.
    """
    with _opened(data, param) as picture:
        picture.load()
        return _eight_bit(ImageOps.exif_transpose(picture))


def size_of(data: bytes, param: str) -> tuple[int, int]:
    """The `(width, height)` that a picture will have, by its head alone.

    Raises:
        InvalidRequest: as `decode` does, for what the head tells.
    """
    with _opened(data, param) as picture:
        # A PNG's may stand behind its pixels, which Pillow decodes to look there.
        is_bare = picture.format == "PNG" and not any(mark in data for mark in _PNG_EXIF)
        is_turned = not is_bare and picture.getexif().get(_ORIENTATION) in _TURNED
        return (picture.height, picture.width) if is_turned else picture.size


def texts_of(data: bytes, param: str) -> dict[str, str]:
    """The texts that a PNG carries, as far as they are not endless; other pictures carry none.

    Raises:
        InvalidRequest: as `decode` does.
    """
    with _opened(data, param) as picture:
        found = islice(getattr(picture, "text", {}).items(), MAX_TEXTS)
        return {str(key)[:80]: str(value)[:MAX_TEXT_CHARACTERS] for key, value in found}


def is_beyond(size: tuple[int, int]) -> bool:
    """Whether a picture is larger than any that is made here."""
    return size[0] * size[1] > MAX_PIXELS or max(size) > MAX_EDGE


@contextmanager
def _opened(data: bytes, param: str) -> Iterator[Image.Image]:
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as opened:
            if is_beyond(opened.size):
                raise Image.DecompressionBombError
            if opened.format == "JPEG" and data.count(_SCAN) > MAX_SCANS:
                raise ValueError(f"over {MAX_SCANS} scans")
            yield opened
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise InvalidRequest(
            f"Invalid image '{shown(param)}': "
            f"over {MAX_PIXELS} pixels, or {MAX_EDGE} along an edge.",
            param=param,
            code="image_too_large",
        ) from None
    except Exception as error:  # decoders meet hostile bytes with every kind of exception
        raise InvalidRequest(
            f"Invalid image '{shown(param)}': not a whole PNG, JPEG, WebP or GIF.",
            param=param,
            code="invalid_image",
        ) from error


def on_white(picture: Image.Image) -> Image.Image:
    """RGB, with what was transparent laid over white."""
    if picture.mode != "RGBA":
        return picture.convert("RGB")
    ground = Image.new("RGB", picture.size, "white")
    ground.paste(picture, mask=picture.getchannel("A"))
    return ground


def as_mask(picture: Image.Image) -> Image.Image:
    """One channel, 255 where to edit: where alpha is 0, or white if nothing is transparent."""
    if picture.mode == "RGBA" and picture.getchannel("A").getextrema() != (255, 255):
        return ImageChops.invert(picture.getchannel("A"))
    return picture.convert("L")


def to_pixels(picture: Image.Image) -> Pixels:
    """A picture of mode L, RGB or RGBA as raw pixels."""
    return Pixels(picture.width, picture.height, _MODES[picture.mode], picture.tobytes())


def shown(source: str) -> str:
    """What a picture is called in a message: a name, or the beginning of a long URL."""
    return shortened(source, 100)


def _eight_bit(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith(("I", "F")):
        # Sixteen bits a channel: Pillow's own conversion would clip instead of scale.
        high = picture.getextrema()[1]
        top = 65535 if picture.mode != "F" and isinstance(high, int) and high > 255 else 255
        picture = picture.point(lambda value: value * (255 / top)).convert("L")
    has_alpha = "A" in picture.getbands() or "transparency" in picture.info
    return picture.convert("RGBA" if has_alpha else "RGB")
