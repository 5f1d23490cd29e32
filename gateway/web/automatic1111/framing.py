"""Pictures brought to the size asked for, as AUTOMATIC1111's `resize_mode` says."""

from io import BytesIO

from PIL import Image, ImageChops, ImageOps

from gateway.images.decode import as_mask, decode

Size = tuple[int, int]
CROP, FILL = 1, 2
"""Of `resize_mode`: what is beyond is cut off; edges are drawn out where there is too little.

Any other stretches.
"""


def framed(data: bytes, mode: int, size: Size, param: str) -> bytes:
    """An encoded picture in another frame.

    Raises:
        InvalidRequest: it is no picture.
    """
    return _encoded(_framed(decode(data, param), mode, size))


def framed_mask(data: bytes, mode: int, size: Size | None, *, inverted: bool) -> bytes:
    """A mask in the frame of its picture, white where to edit; `size` None leaves it.

    Raises:
        InvalidRequest: it is no picture.
    """
    mask = as_mask(decode(data, "mask"))
    if inverted:
        mask = ImageChops.invert(mask)
    return _encoded(_framed(mask, mode, size) if size else mask)


def _framed(picture: Image.Image, mode: int, size: Size) -> Image.Image:
    if mode == CROP:
        return ImageOps.fit(picture, size, Image.Resampling.LANCZOS)
    if mode != FILL:
        return picture.resize(size, Image.Resampling.LANCZOS)
    inner = ImageOps.contain(picture, size, Image.Resampling.LANCZOS)
    wide, high = inner.size
    left, top = (size[0] - wide) // 2, (size[1] - high) // 2
    # Of two halves, the first and the last line of pixels drawn out, and the picture over both.
    halves = (
        ((0, 0, 1, high), (0, 0, wide, 1), (0, 0)),
        ((wide - 1, 0, wide, high), (0, high - 1, wide, high), (left, top)),
    )
    ground = Image.new(picture.mode, size)
    for column, row, corner in halves:
        edge = column if wide < size[0] else row
        ground.paste(inner.crop(edge).resize(size), corner)
    ground.paste(inner, (left, top))
    return ground


def _encoded(picture: Image.Image) -> bytes:
    out = BytesIO()
    picture.save(out, "PNG", compress_level=1)
    return out.getvalue()
