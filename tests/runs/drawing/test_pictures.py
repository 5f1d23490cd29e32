"""What graphs do to pictures, in pixels."""

import pytest
from PIL import Image, ImageFilter

from gateway.errors import TooLarge
from gateway.runs.drawing.pictures import changed, flat, mask_of
from gateway.runs.graph.values import Crop, Loaded, Mask, Pad, Picture, Resize

RED = (200, 0, 0)


def padded(feather: int = 0, **edges: int) -> Image.Image:
    sides = {"left": 0, "top": 0, "right": 0, "bottom": 0} | edges
    return changed(Image.new("RGB", (64, 48), RED), Pad(feather=feather, **sides))


def test_what_is_padded_is_grey_and_masked() -> None:
    picture = padded(left=16, bottom=8)
    assert picture.size == (80, 56)
    assert flat(picture).getpixel((0, 0)) == (128, 128, 128)
    assert flat(picture).getpixel((16, 0)) == RED
    mask = mask_of(picture, Mask(Picture(Loaded("a"))))
    assert [mask.getpixel(at) for at in ((15, 0), (16, 0), (40, 47), (40, 48))] == [255, 0, 0, 255]


def test_the_mask_reaches_softly_into_the_picture() -> None:
    mask = mask_of(padded(feather=10, right=16), Mask(Picture(Loaded("a"))))
    row = list(mask.crop((0, 20, 80, 21)).tobytes())
    assert row[:54] == [0] * 54
    assert row[64:] == [255] * 16
    slope = row[54:65]
    assert slope == sorted(slope)
    assert 0 < row[58] < 128


@pytest.mark.parametrize(
    ("change", "size"),
    [
        (Crop(0, 0, 16, 8), (16, 8)),
        (Crop(60, 40, 16, 16), (4, 8)),
        (Crop(900, 900, 16, 16), (1, 1)),
        (Pad(left=1, top=2, right=3, bottom=4, feather=100), (68, 54)),
        (Resize(method="area", factor=0.5), (32, 24)),
        (Resize(method="area", width=32), (32, 24)),
    ],
)
def test_sizes_are_known_before_the_pixels_are(
    change: Crop | Pad | Resize, size: tuple[int, int]
) -> None:
    assert change.target(64, 48) == size
    assert changed(Image.new("RGB", (64, 48)), change).size == size


def test_nothing_grows_beyond_measure() -> None:
    with pytest.raises(TooLarge):
        padded(left=16_384, top=16_384)


@pytest.mark.parametrize("pixels", [1, 2, 5, 9, 64])
def test_a_mask_grows_as_far_each_way_as_a_filter_of_three_so_often(pixels: int) -> None:
    noise = Image.effect_noise((40, 31), 90).point(lambda value: 255 if value > 200 else 0)
    wanted = noise
    for _ in range(pixels):
        wanted = wanted.filter(ImageFilter.MaxFilter(3))
    picture = Image.merge("RGB", (noise, noise, noise))
    mask = Mask(Picture(Loaded("a")), "red", grow=pixels)
    assert mask_of(picture, mask).tobytes() == wanted.tobytes()
