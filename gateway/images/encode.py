"""Pixels to bytes and back: PNG by a filter and a fast deflate, JPEG and WebP by Pillow."""

import struct
import zlib
from collections.abc import Mapping
from io import BytesIO
from typing import Literal

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray
from PIL import Image

from gateway.job import Pixels

Format = Literal["png", "jpeg", "webp"]
Bytes = NDArray[np.uint8]

CONTENT_TYPES: dict[Format, str] = {
    "png": "image/png",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
}
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_COLOUR_TYPES = {1: 0, 3: 2, 4: 6}
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SUB, _UP = 1, 2
_FLAT_RATIO = 30
"""Above it zlib's level 4 costs under 10 ms/megapixel too and halves the file."""


def encode(
    pixels: Pixels, format: Format, *, quality: int = 95, text: Mapping[str, str] | None = None
) -> bytes:
    """Encode a picture; `quality` in [0, 100] matters to jpeg and webp, `text` to png.

    A JPEG knows no transparency: straight alpha is laid over white.
    """
    if format == "png":
        return _png(pixels, text or {})
    picture, out = to_picture(pixels), BytesIO()
    if format == "webp":
        picture.save(out, "webp", quality=quality, method=1)
    else:
        # Full chroma where quality is asked for: flat red on white shows the difference.
        subsampling = 0 if quality >= 90 else 2
        _opaque(picture).save(out, "jpeg", quality=quality, subsampling=subsampling)
    return out.getvalue()


def resample(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """The picture at another `(width, height)`, by Lanczos' filter."""
    scaled = to_picture(pixels).resize(size, Image.Resampling.LANCZOS)
    return Pixels(*size, pixels.channels, scaled.tobytes())


def read_text(png: bytes) -> dict[str, str]:
    """The text chunks of a PNG.

    Raises:
        ValueError: the bytes are not a PNG.
    """
    try:
        with Image.open(BytesIO(png), formats=["png"]) as picture:
            return {str(key): str(value) for key, value in picture.text.items()}  # type: ignore[attr-defined]
    except OSError as error:
        raise ValueError(f"not a PNG: {error}") from None


def largest_difference(one: bytes, other: bytes) -> int | None:
    """The largest difference of two encoded pictures in [0, 255]; None if their sizes differ."""
    with Image.open(BytesIO(one)) as first, Image.open(BytesIO(other)) as second:
        if first.size != second.size:
            return None
        ours, theirs = (
            np.asarray(picture.convert("RGBA"), np.int16) for picture in (first, second)
        )
    return int(np.abs(ours - theirs).max())


def to_picture(pixels: Pixels) -> Image.Image:
    """Raw pixels as a picture."""
    size = pixels.width, pixels.height
    return Image.frombytes(_MODES[pixels.channels], size, pixels.data)


def _opaque(picture: Image.Image) -> Image.Image:
    if picture.mode != "RGBA":
        return picture
    ground = Image.new("RGB", picture.size, "white")
    ground.paste(picture, mask=picture.getchannel("A"))
    return ground


def _png(pixels: Pixels, text: Mapping[str, str]) -> bytes:
    header = struct.pack(
        ">IIBBBBB", pixels.width, pixels.height, 8, _COLOUR_TYPES[pixels.channels], 0, 0, 0
    )
    chunks = [_chunk(b"IHDR", header)]
    chunks += [_text_chunk(key, value) for key, value in text.items()]
    chunks += [_chunk(b"IDAT", _deflated(_filtered(pixels))), _chunk(b"IEND", b"")]
    return _SIGNATURE + b"".join(chunks)


def _deflated(lines: Bytes) -> bytes:
    """Isal's level 1 for pictures with texture; flat ones are cheap to compress better."""
    fast: bytes = isal_zlib.compress(lines.data, 1)
    if lines.size < _FLAT_RATIO * len(fast):
        return fast
    return min(fast, zlib.compress(lines.data, 4), key=len)


def _filtered(pixels: Pixels) -> Bytes:
    """Scan lines `[height, 1 + width * channels]`, each led by its filter's number.

    One filter for the whole picture: choosing by line won 1 % of bytes for 3 ms/megapixel.
    """
    shape = pixels.height, pixels.width * pixels.channels
    rows = np.frombuffer(pixels.data, np.uint8).reshape(shape)
    lines = np.empty((shape[0], shape[1] + 1), np.uint8)
    lines[:, 0] = filter_number = _choose_filter(rows, pixels.channels)
    if filter_number == _SUB:
        left = pixels.channels
        lines[:, 1 : left + 1] = rows[:, :left]
        np.subtract(rows[:, left:], rows[:, :-left], out=lines[:, left + 1 :])
    else:
        lines[0, 1:] = rows[0]
        np.subtract(rows[1:], rows[:-1], out=lines[1:, 1:])
    return lines


def _choose_filter(rows: Bytes, channels: int) -> int:
    """Sub or Up, whichever leaves the smaller differences on every eighth line."""
    below = rows[1::8]
    above = rows[::8][: len(below)]
    sub = _magnitude(below[:, channels:] - below[:, :-channels])
    return _UP if _magnitude(below - above) <= sub else _SUB


def _magnitude(differences: Bytes) -> int:
    return int(np.abs(differences.view(np.int8)).view(np.uint8).sum(dtype=np.int64))


def _text_chunk(key: str, value: str) -> bytes:
    """`tEXt` where Latin-1 suffices, else `iTXt` in UTF-8."""
    name = key.encode("latin-1")
    assert 0 < len(name) < 80
    try:
        return _chunk(b"tEXt", name + b"\0" + value.encode("latin-1"))
    except UnicodeEncodeError:
        return _chunk(b"iTXt", name + b"\0\0\0\0\0" + value.encode())


def _chunk(kind: bytes, data: bytes) -> bytes:
    return (
        struct.pack(">I", len(data))
        + kind
        + data
        + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))
    )
