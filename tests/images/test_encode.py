"""Encoded pictures decode to the pixels that went in, by a decoder that is not ours."""

from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from gateway.images.encode import CONTENT_TYPES, Format, encode, read_text, resample
from gateway.job import Pixels
from tests.benchmarks.encode import rows


def pixels_of(array: NDArray[np.uint8]) -> Pixels:
    height, width, channels = array.shape
    return Pixels(width, height, channels, array.tobytes())


def decoded(data: bytes) -> NDArray[np.uint8]:
    picture = Image.open(BytesIO(data))
    array = np.asarray(picture)
    return array if array.ndim == 3 else array[..., None]


def smooth(width: int, height: int, channels: int) -> NDArray[np.uint8]:
    across, down = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    planes = [across, down, 255 - across, down][:channels]
    return np.stack(planes, -1).astype(np.uint8)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("kind", ["noise", "smooth", "flat", "columns"])
def test_png_is_lossless(channels: int, kind: str) -> None:
    random = np.random.default_rng(7)
    array = {
        "noise": random.integers(0, 256, (33, 47, channels), np.uint8),
        "smooth": smooth(640, 480, channels),
        "flat": np.full((512, 512, channels), 200, np.uint8),
        "columns": np.tile(random.integers(0, 256, (1, 64, channels), np.uint8), (64, 1, 1)),
    }[kind]
    data = encode(pixels_of(array), "png")
    assert Image.open(BytesIO(data)).format == "PNG"
    np.testing.assert_array_equal(decoded(data), array)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 20),
    st.integers(1, 20),
    st.sampled_from([1, 3, 4]),
    st.integers(0, 2**32 - 1),
)
def test_png_is_lossless_at_every_size(width: int, height: int, channels: int, seed: int) -> None:
    array = np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)
    np.testing.assert_array_equal(decoded(encode(pixels_of(array), "png")), array)


def test_a_flat_picture_is_not_paid_for_with_size() -> None:
    array = np.full((512, 512, 3), 255, np.uint8)
    array[100:300, 120:400] = (220, 40, 30)
    reference = BytesIO()
    Image.fromarray(array).save(reference, "png", compress_level=6)
    ours = encode(pixels_of(array), "png")
    assert len(ours) <= 1.2 * len(reference.getvalue())


def test_no_kind_of_picture_is_a_fifth_larger_than_pillows() -> None:
    """Drawn flat, drawn shaded, and under a sensor's noise."""
    ratios = {name: float(ratio) for name, _, _, ratio in rows(edge=512)}
    assert len(ratios) == 3
    assert all(ratio <= 1.2 for ratio in ratios.values()), ratios


def test_text_survives_in_any_script() -> None:
    text = {"prompt": "ein Apfel, größer", "receipt": "赤いりんご 🍎", "parameters": "line\nline"}
    data = encode(pixels_of(smooth(8, 8, 3)), "png", text=text)
    assert read_text(data) == text
    np.testing.assert_array_equal(decoded(data), smooth(8, 8, 3))


def test_reading_text_of_something_else_says_so() -> None:
    with pytest.raises(ValueError, match="not a PNG"):
        read_text(encode(pixels_of(smooth(8, 8, 3)), "jpeg"))


@pytest.mark.parametrize("format", ["jpeg", "webp"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_lossy_formats_stay_near_and_quality_matters(format: Format, channels: int) -> None:
    array = smooth(64, 48, channels)
    if channels == 4:
        array[..., 3] = 255
    good, poor = (encode(pixels_of(array), format, quality=quality) for quality in (95, 10))
    assert Image.open(BytesIO(good)).get_format_mimetype() == CONTENT_TYPES[format]
    assert len(poor) < len(good)
    near = np.asarray(Image.open(BytesIO(good)).convert("RGB"), int)
    wanted = np.broadcast_to(array[..., :3], near.shape).astype(int)
    assert np.abs(near - wanted).mean() < 3


def test_a_transparent_jpeg_lies_on_white() -> None:
    array = np.zeros((16, 16, 4), np.uint8)
    assert decoded(encode(pixels_of(array), "jpeg")).min() >= 254


def test_resample_scales_and_keeps_channels() -> None:
    flat = np.full((40, 60, 4), 90, np.uint8)
    scaled = resample(pixels_of(flat), (30, 10))
    assert (scaled.width, scaled.height, scaled.channels) == (30, 10, 4)
    assert scaled.data == bytes([90]) * (30 * 10 * 4)
