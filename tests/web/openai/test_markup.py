"""Marks over the picture of an edit: shown to who follows instructions, a mask to who redraws."""

import base64
from typing import Any

import pytest
from PIL import Image, ImageDraw

from gateway.job import Pixels
from tests.images.test_decode import saved
from tests.small_engine import TestEngine
from tests.web.openai.asking import refused
from tests.web.openai.test_edits import EDITS, PNG, Client, client, edit, engine

__all__ = ["client", "engine"]


def marks(size: tuple[int, int] = (96, 64)) -> Image.Image:
    """A blue circle, and a blue line beside it."""
    picture = Image.new("RGBA", size)
    draw = ImageDraw.Draw(picture)
    draw.ellipse((20, 10, 60, 50), outline=(0, 0, 255, 255), width=3)
    draw.line((80, 5, 80, 60), fill=(0, 0, 255, 255), width=3)
    return picture


def at(pixels: Pixels | None, x: int, y: int) -> tuple[int, ...]:
    """A pixel's channels."""
    assert pixels is not None
    start = (y * pixels.width + x) * pixels.channels
    return tuple(pixels.data[start : start + pixels.channels])


def test_who_follows_instructions_is_shown_the_marks(client: Client, engine: TestEngine) -> None:
    files = {"image": PNG, "markup": saved(marks(), "PNG")}
    answer = edit(client, files, model="many")
    assert (answer.status_code, answer.json()["warnings"]) == (200, [])
    job = engine.jobs[-1]
    assert job.mask is None
    assert [at(job.images[0], x, 30) for x in (5, 40, 80)] == [
        (200, 10, 10),
        (200, 10, 10),
        (0, 0, 255),
    ]


@pytest.mark.parametrize("form", ["multipart", "json"])
def test_who_redraws_redraws_what_is_marked_and_enclosed(
    client: Client, engine: TestEngine, form: str
) -> None:
    drawn = saved(marks(), "PNG")
    if form == "multipart":
        answer = edit(client, {"image": PNG, "markup": drawn})
    else:
        urls = [f"data:image/png;base64,{base64.b64encode(one).decode()}" for one in (PNG, drawn)]
        body = {"prompt": "a dog", "images": [{"image_url": urls[0]}]}
        answer = client.post(EDITS, json=body | {"markup": {"image_url": urls[1]}})
    assert answer.status_code == 200, answer.text
    assert [one["param"] for one in answer.json()["warnings"]] == ["markup"]
    job = engine.jobs[-1]
    assert at(job.images[0], 40, 30) == at(job.images[0], 80, 30) == (200, 10, 10)
    assert [at(job.mask, *where) for where in ((40, 30), (80, 30), (5, 30), (70, 30))] == [
        (255,),
        (255,),
        (0,),
        (0,),
    ]


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"markup": saved(marks(), "PNG"), "mask": PNG}, "markup"),
        ({"markup": saved(marks((64, 64)), "PNG")}, "markup"),
        ({"markup": PNG}, "markup"),
        ({"markup": saved(Image.new("RGBA", (96, 64)), "PNG")}, "markup"),
        ({"markup": b"no picture"}, "markup"),
    ],
    ids=["with a mask", "another size", "opaque", "no marks", "no picture"],
)
def test_marks_that_cannot_guide_are_refused(client: Client, more: Any, param: str) -> None:
    answer = edit(client, {"image": PNG, **more})
    code = "invalid_image" if more["markup"] == b"no picture" else "invalid_value"
    refused(answer, 400, code, param)
