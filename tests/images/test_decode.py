"""Pictures from strangers: whole ones become pixels, everything else a clear refusal."""

import struct
import zlib
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from gateway.errors import InvalidRequest
from gateway.images.decode import as_mask, decode, on_white, size_of, to_pixels


def saved(image: Image.Image, format: str, **options: Any) -> bytes:
    out = BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims to be huge."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(b"\0" * 1000)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    )


RED = Image.new("RGB", (8, 6), (200, 10, 10))


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF"])
def test_every_format_decodes_by_content(format: str) -> None:
    found = decode(saved(RED, format), "image")
    assert found.size == (8, 6)
    red, green, blue = found.convert("RGB").getpixel((4, 3))  # type: ignore[misc]
    assert red > 150
    assert max(green, blue) < 60


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a picture",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"\x89PNG\r\n\x1a\n",
        saved(RED, "PNG")[:40],
        saved(RED.resize((300, 300)), "JPEG")[:400],
        saved(RED, "BMP"),
        saved(RED, "TIFF"),
    ],
)
def test_what_is_no_whole_picture_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode(data, "image[1]")
    assert caught.value.param == "image[1]"
    assert caught.value.status == 400


def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(InvalidRequest, match="over 40000000 pixels") as caught:
        decode(bomb(60_000, 60_000), "image")
    assert caught.value.code == "image_too_large"


def test_unusual_pictures_become_eight_bit_rgb() -> None:
    palette = RED.convert("P")
    cmyk = saved(RED.convert("CMYK"), "JPEG")
    deep = Image.new("I;16", (4, 4), 65535)
    assert decode(saved(palette, "PNG"), "image").mode == "RGB"
    assert decode(cmyk, "image").mode == "RGB"
    assert decode(saved(deep, "PNG"), "image").getpixel((0, 0)) == (255, 255, 255)
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    animated = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode(animated, "image").convert("RGB").getpixel((0, 0)) == (255, 0, 0)


def test_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode(saved(RED, "JPEG", exif=exif.tobytes()), "image").size == (6, 8)


def test_alpha_is_laid_on_white_or_read_as_a_mask() -> None:
    picture = Image.new("RGBA", (2, 1), (0, 0, 0, 255))
    picture.putpixel((1, 0), (0, 0, 0, 0))
    assert on_white(picture).getpixel((1, 0)) == (255, 255, 255)
    mask = as_mask(picture)
    assert [mask.getpixel((x, 0)) for x in (0, 1)] == [0, 255]
    drawn = Image.new("L", (2, 1), 0)
    drawn.putpixel((1, 0), 255)
    assert as_mask(drawn.convert("RGB")).getpixel((1, 0)) == 255
    assert to_pixels(mask).channels == 1


def test_a_size_is_known_by_the_head_alone_and_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = saved(RED, "JPEG", exif=exif)
    assert size_of(turned, "image") == decode(turned, "image").size == (6, 8)
    assert size_of(bomb(5000, 5000), "image") == (5000, 5000)
    with pytest.raises(InvalidRequest, match="pixels"):
        size_of(bomb(30_000, 30_000), "image")


def test_a_jpeg_of_very_many_scans_is_refused() -> None:
    plain = saved(RED, "JPEG", progressive=True)
    head, scan = plain.split(b"\xff\xda", 1)
    assert decode(plain, "image").size == (8, 6)
    with pytest.raises(InvalidRequest):
        decode(head + (b"\xff\xda" + scan[:-2]) * 100 + b"\xff\xd9", "image")


def test_a_long_source_is_named_shortly() -> None:
    with pytest.raises(InvalidRequest) as raised:
        decode(b"", "data:image/png;base64," + "A" * 10**6)
    assert len(raised.value.message) < 300
