"""Hostile pictures sent to a live process: each gets its answer, and the memory comes back."""

from collections.abc import Callable
from io import BytesIO
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.clients.pictures import opened
from tests.facts import resident_mib
from tests.images.test_decode import bomb, saved
from tests.serving import Server

GROUND = Image.new("RGB", (64, 64), (60, 165, 75))
KEPT_MIB = 48
"""What decoders, arenas and the pipeline's first edits may keep of it all."""


def truncated() -> bytes:
    noise = Image.effect_noise((256, 256), 80).convert("RGB")
    return saved(noise, "PNG")[:20_000]


def large() -> bytes:
    """A whole picture, one pixel row over what is decoded."""
    return saved(Image.new("1", (20_000, 2_001)), "PNG")


REFUSED: dict[str, tuple[Callable[[], bytes], int, str | None]] = {
    "no bytes": (lambda: b"", 400, "invalid_image"),
    "text": (lambda: b"not a picture" * 1000, 400, "invalid_image"),
    "svg": (lambda: b"<svg xmlns='http://www.w3.org/2000/svg'><rect/></svg>", 400, "invalid_image"),
    "truncated": (truncated, 400, "invalid_image"),
    "bomb": (lambda: bomb(60_000, 60_000), 400, "image_too_large"),
    "too many pixels": (large, 400, "image_too_large"),
    "over 50 MiB": (lambda: b"\x89PNG" + bytes(51 << 20), 400, "image_too_large"),
    "100 MB": (lambda: b"\x89PNG" + bytes(100_000_000), 413, "request_too_large"),
}


def animated() -> bytes:
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "green", "blue")]
    out = BytesIO()
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:])
    return out.getvalue()


TAKEN: dict[str, Callable[[], bytes]] = {
    "16 bits": lambda: saved(Image.new("I;16", (64, 64), 40_000), "PNG"),
    "palette": lambda: saved(GROUND.convert("P"), "PNG"),
    "grey": lambda: saved(GROUND.convert("L"), "PNG"),
    "grey and alpha": lambda: saved(GROUND.convert("LA"), "PNG"),
    "one bit": lambda: saved(GROUND.convert("1"), "PNG"),
    "CMYK": lambda: saved(GROUND.convert("CMYK"), "JPEG"),
    "animated": animated,
    "WebP by another name": lambda: saved(GROUND, "WEBP"),
}


def edit(server: Server, data: bytes, **more: Any) -> httpx.Response:
    return httpx.post(
        f"{server.url}/v1/images/edits",
        data={"model": "tiny", "prompt": "a cat", "size": "64x64", "n": 1, **more},
        files={"image": ("picture.png", data, "image/png")},
        headers={"Authorization": f"Bearer {server.key}"},
        timeout=120,
    )


@pytest.mark.parametrize("name", TAKEN)
def test_unusual_pictures_are_taken(server: Server, name: str) -> None:
    answer = edit(server, TAKEN[name]())
    assert answer.status_code == 200, answer.text
    assert opened(answer.json()["data"][0]["b64_json"]).size == (64, 64)


@pytest.mark.parametrize("name", REFUSED)
def test_hostile_pictures_are_refused_with_a_reason(server: Server, name: str) -> None:
    make, status, code = REFUSED[name]
    answer = edit(server, make())
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["code"] == code
    assert error["message"]
    if status == 400:
        assert error["param"] == "image"


def test_memory_comes_back(server: Server) -> None:
    corpus = [make() for make, _, _ in REFUSED.values()]
    for data in corpus:
        edit(server, data)
    before = resident_mib(server.process.pid)
    for _ in range(3):
        for data in corpus:
            edit(server, data)
    assert edit(server, saved(GROUND, "PNG")).status_code == 200
    assert resident_mib(server.process.pid) - before < KEPT_MIB
