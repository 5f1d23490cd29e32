"""PNG encode time and size against Pillow's level 6, on one core."""

import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from gateway.images.encode import encode
from gateway.job import Pixels

Row = tuple[str, str, str, str]
HEADER: Row = ("picture", "ms/megapixel", "Pillow level 6, ms/megapixel", "size / Pillow's")


def rows(photos: tuple[Path, ...] = (), edge: int = 1024) -> list[Row]:
    """One row per picture: drawn ones, and any photographs given."""
    pictures = {"drawn flat": _flat(edge), "drawn shaded": _shaded(edge), "grain": _grain(edge)}
    for path in photos:
        with Image.open(path) as photo:
            scaled = photo.convert("RGB").resize((edge, edge), Image.Resampling.LANCZOS)
        pictures[path.stem] = np.asarray(scaled)
    return [_row(name, array) for name, array in pictures.items()]


def _row(name: str, array: NDArray[np.uint8]) -> Row:
    height, width, _ = array.shape
    pixels = Pixels(width, height, 3, array.tobytes())
    megapixels = width * height / 1e6
    seconds, size = _best(lambda: encode(pixels, "png"))
    pillow_seconds, pillow_size = _best(lambda: _pillow(array))
    return (
        name,
        f"{seconds * 1e3 / megapixels:.1f}",
        f"{pillow_seconds * 1e3 / megapixels:.1f}",
        f"{size / pillow_size:.2f}",
    )


def _best(work: Callable[[], bytes], repeats: int = 5) -> tuple[float, int]:
    best, size = float("inf"), 0
    for _ in range(repeats):
        start = time.perf_counter()
        size = len(work())
        best = min(best, time.perf_counter() - start)
    return best, size


def _pillow(array: NDArray[np.uint8]) -> bytes:
    out = BytesIO()
    Image.fromarray(array).save(out, "png", compress_level=6)
    return out.getvalue()


def _flat(edge: int) -> NDArray[np.uint8]:
    picture = Image.new("RGB", (2 * edge, 2 * edge), "white")
    draw = ImageDraw.Draw(picture)
    draw.ellipse((edge // 5, edge // 5, 9 * edge // 5, 9 * edge // 5), fill=(220, 40, 30))
    draw.rectangle((9 * edge // 10, edge // 12, 11 * edge // 10, edge // 3), fill=(90, 60, 20))
    return np.asarray(picture.resize((edge, edge), Image.Resampling.LANCZOS))


def _shaded(edge: int) -> NDArray[np.uint8]:
    down, across = np.mgrid[-1 : 1 : edge * 1j, -1 : 1 : edge * 1j]
    light = np.clip(1.2 - np.hypot(across + 0.3, down + 0.3), 0, 1)
    ball = np.stack([255 * light, 190 * light, 40 + 60 * light], -1)
    inside = (np.hypot(across, down) < 0.9)[..., None]
    return np.where(inside, ball, 255).astype(np.uint8)


def _grain(edge: int) -> NDArray[np.uint8]:
    """A shaded picture under the noise of a sensor: the worst a photograph does."""
    noise = np.random.default_rng(0).normal(0, 3, (edge, edge, 3))
    return np.clip(_shaded(edge) + noise, 0, 255).astype(np.uint8)


if __name__ == "__main__":
    import sys

    for row in [HEADER, *rows(tuple(map(Path, sys.argv[1:])))]:
        print("  ".join(cell.ljust(30) for cell in row))
