"""Transparent backgrounds: what is cut out, what stays, and what becomes of the outline."""

import time

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from gateway.images.matting import cut_out
from gateway.job import Pixels

GREEN, RED, WHITE = (60, 165, 75), (220, 40, 40), (255, 255, 255)
SIZE = 96


def drawn(background: tuple[int, int, int], subject: tuple[int, int, int]) -> Image.Image:
    """A smooth disc with a hole of the background's colour, on a plain background."""
    large = Image.new("RGB", (SIZE * 4, SIZE * 4), background)
    pen = ImageDraw.Draw(large)
    pen.ellipse((80, 80, 304, 304), fill=subject)
    pen.ellipse((170, 170, 214, 214), fill=background)
    return large.resize((SIZE, SIZE), Image.Resampling.LANCZOS)


def matted(picture: Image.Image) -> NDArray[np.uint8]:
    out = cut_out(Pixels(*picture.size, 3, picture.tobytes()))
    assert out.channels == 4
    return np.frombuffer(out.data, np.uint8).reshape(out.height, out.width, 4)


def test_the_background_goes_and_the_subject_stays() -> None:
    cut = matted(drawn(GREEN, RED))
    assert cut[0, 0, 3] == cut[2, SIZE // 2, 3] == 0
    ring = cut[SIZE // 2, 30]
    assert ring[3] == 255
    assert np.abs(ring[:3].astype(int) - RED).max() <= 2


def test_what_the_subject_encloses_stays() -> None:
    cut = matted(drawn(WHITE, RED))
    assert tuple(cut[SIZE // 2, SIZE // 2]) == (*WHITE, 255)


def test_the_outline_is_soft_and_free_of_the_background() -> None:
    cut = matted(drawn(GREEN, RED))
    soft = cut[(cut[:, :, 3] > 40) & (cut[:, :, 3] < 215)]
    assert len(soft) > 20
    # On black, nothing green is left around the red disc.
    shown = soft[:, :3] * (soft[:, 3:] / 255)
    assert (shown[:, 1] <= shown[:, 0] + 20).all()


def test_noise_in_the_background_is_background() -> None:
    noisy = np.asarray(drawn(GREEN, RED)).astype(int)
    noisy += np.random.default_rng(0).integers(-8, 9, noisy.shape)
    picture = Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
    cut = matted(picture)
    assert (cut[:8, :, 3] == 0).all()


def test_a_way_through_a_spiral_is_found() -> None:
    picture = Image.new("RGB", (64, 64), GREEN)
    pen = ImageDraw.Draw(picture)
    for inset in range(4, 30, 8):
        pen.rectangle((inset, inset, 63 - inset, 63 - inset), outline=RED, width=2)
        gap = inset if inset % 16 == 4 else 61 - inset
        pen.rectangle((31, gap, 34, gap + 2), fill=GREEN)
    assert matted(picture)[32, 32, 3] == 0


def test_a_labyrinth_takes_no_longer_than_its_pixels() -> None:
    """One path through all of it: followed step by step it takes half a minute."""
    ways = np.full((512, 512, 3), RED, np.uint8)
    ways[:, 1::2] = GREEN
    ways[-1, 3::4] = ways[0, 1::4] = ways[0] = ways[-1] = RED
    ways[1, 2::4] = ways[-2, 4::4] = GREEN
    ways[0, 1] = GREEN
    ways[:, 0] = ways[:, -1] = RED
    ways[:, -2:] = RED
    framed = np.pad(ways, ((4, 4), (4, 4), (0, 0)), mode="constant")
    framed[:4] = framed[-4:] = framed[:, :4] = framed[:, -4:] = GREEN
    began = time.monotonic()
    cut = matted(Image.fromarray(framed))
    assert time.monotonic() - began < 5
    assert (cut[6:-6, 5:-8:2, 3] == 0).all()
    assert (cut[10:-10, 6:-8:2, 3] > 0).mean() > 0.9


def test_paths_are_found_as_by_growing_step_by_step() -> None:
    chance, cell = np.random.default_rng(0), 6  # larger than the soft outline
    for share in (0.4, 0.55, 0.6, 0.65, 0.8) * 2:
        alike = chance.random((23, 31)) < share
        found = np.pad(np.zeros((21, 29), np.bool_), 1, constant_values=True) & alike
        for _ in range(alike.size // 2):
            wide = np.pad(found, 1)
            beside = wide[1:-1, :-2] | wide[1:-1, 2:]
            found = (found | beside | wide[:-2, 1:-1] | wide[2:, 1:-1]) & alike
        grey = np.where(alike, 255, 0).astype(np.uint8).repeat(cell, 0).repeat(cell, 1)
        framed = np.pad(grey, 3, constant_values=255)
        cut = matted(Image.fromarray(framed).convert("RGB"))
        assert ((cut[6::cell, 6::cell, 3] == 0)[:23, :31] == found).all()
