"""What the bundled model draws, with the weights that are shipped."""

import io
import os

os.environ["HF_HUB_OFFLINE"] = "1"

import base64
import time
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from litestar import Litestar
from litestar.testing import TestClient
from numpy.typing import NDArray
from PIL import Image

from gateway.app import create_app
from gateway.images.encode import read_text
from gateway.images.receipt import read_receipt
from gateway.settings import Settings

ROOT = Path(__file__).parents[2]
Client = TestClient[Litestar]
Colours = NDArray[np.float64]
NAMED = {
    "white": (255, 255, 255),
    "black": (20, 20, 20),
    "red": (220, 40, 40),
    "orange": (245, 140, 40),
    "yellow": (250, 215, 70),
    "green": (60, 165, 75),
    "blue": (45, 95, 210),
    "purple": (140, 70, 190),
    "pink": (250, 150, 190),
}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    settings = Settings(data=tmp_path_factory.mktemp("data"), threads=1, preload=True)
    with TestClient(create_app(settings)) as client:
        while client.get("/health/ready").status_code != 200:
            time.sleep(0.05)  # asking without a pause keeps a core from loading the model
        yield client


def drawn(client: Client, prompt: str, model: str = "emoji", **more: Any) -> bytes:
    body = {"model": model, "prompt": prompt, "seed": 7, "response_format": "b64_json", **more}
    answer = client.post("/v1/images/generations", json=body)
    assert answer.status_code == 200, answer.text
    return base64.b64decode(answer.json()["data"][0]["b64_json"])


@cache
def seen(client: Client, prompt: str) -> Colours:
    """What is drawn of a prompt with nothing else said, once for all tests."""
    return colours(drawn(client, prompt))


def colours(picture: bytes) -> Colours:
    """`[height, width, 3]` in [0, 255]."""
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"), np.float64)


def middle(pixels: Colours) -> Colours:
    """The mean colour of the middle quarter."""
    mean: Colours = pixels[48:80, 48:80].mean(axis=(0, 1))
    return mean


def edge(pixels: Colours) -> Colours:
    """The median colour along the border."""
    sides = (pixels[:4], pixels[-4:], pixels[:, :4], pixels[:, -4:])
    median: Colours = np.median(np.concatenate([side.reshape(-1, 3) for side in sides]), axis=0)
    return median


def nearest(colour: NDArray[np.float64]) -> str:
    """The name of the colour that is nearest."""
    return min(NAMED, key=lambda name: float(np.abs(colour - NAMED[name]).sum()))


def colourfulness(pixels: Colours) -> float:
    """How far apart a pixel's channels are, in the mean."""
    return float((pixels.max(axis=2) - pixels.min(axis=2)).mean())


@pytest.mark.parametrize("steps", [1, 4, 8])
def test_circles_have_the_colour_they_are_asked_in(client: Client, steps: int) -> None:
    red = middle(colours(drawn(client, "a red circle on white", num_inference_steps=steps)))
    blue = middle(colours(drawn(client, "a blue circle on white", num_inference_steps=steps)))
    assert red[0] > max(red[1], red[2]) + 80
    assert blue[2] > blue[0] + 80


@pytest.mark.parametrize("colour", NAMED)
def test_the_background_is_as_asked(client: Client, colour: str) -> None:
    border = edge(colours(drawn(client, f"a crown on a {colour} background")))
    apart = {name: np.abs(border - wanted).max() for name, wanted in NAMED.items()}
    assert min(apart, key=lambda name: apart[name]) == colour
    assert apart[colour] < 40


@pytest.mark.parametrize("thing", ["umbrella", "balloon", "star"])
@pytest.mark.parametrize(("paint", "ground"), [("yellow", "blue"), ("blue", "yellow")])
def test_colours_go_where_the_words_put_them(
    client: Client, thing: str, paint: str, ground: str
) -> None:
    pixels = colours(drawn(client, f"a {paint} {thing} on a {ground} background"))
    behind = edge(pixels)
    inside = pixels[np.abs(pixels - behind).max(axis=2) > 60]
    assert nearest(behind) == ground
    assert [nearest(pixel) for pixel in inside].count(paint) > len(inside) / 2


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("a pint of lager", "a beer mug"),
        ("a pony", "a horse"),
        ("an extraterrestrial", "an alien"),
        ("a violinist's instrument", "a violin"),
        ("an automobile", "a car"),
    ],
)
def test_other_words_are_drawn_as_what_they_mean(client: Client, word: str, meant: str) -> None:
    asked, wanted, *others = (
        seen(client, f"{thing} on white")
        for thing in (word, meant, "a rocket", "a red heart", "a hamburger", "a crown")
    )
    apart = np.abs(asked - wanted).mean()
    assert apart < min(np.abs(asked - other).mean() for other in others)


def test_line_art_has_little_colour(client: Client) -> None:
    prompt = "a pizza on a white background"
    flat, line = (colours(drawn(client, prompt, model)) for model in ("emoji", "emoji:line"))
    assert colourfulness(flat) > 20
    assert colourfulness(line) < colourfulness(flat) / 2


def test_the_third_dimension_is_shaded(client: Client) -> None:
    flat, solid = (
        colours(drawn(client, "a red apple on white", model)) for model in ("emoji", "emoji:3d")
    )
    assert np.abs(flat - solid).mean() > 2


def test_adapters_keep_the_subjects_place_and_background(client: Client) -> None:
    prompt = "a star on a purple background"
    pictures = [colours(drawn(client, prompt, model)) for model in ("emoji", "emoji:3d")]
    assert np.abs(edge(pictures[0]) - edge(pictures[1])).max() < 60


def test_one_seed_is_one_picture_and_another_is_another(client: Client) -> None:
    first, again, other = (
        drawn(client, "a rocket"), drawn(client, "a rocket"), drawn(client, "a rocket", seed=8),
    )  # fmt: skip
    assert first == again
    assert np.abs(colours(first) - colours(other)).mean() > 2


def test_the_receipt_reproduces(client: Client) -> None:
    picture = drawn(client, "a fish on green", "emoji:3d", num_inference_steps=3)
    receipt = read_receipt(read_text(picture))
    again = drawn(
        client,
        receipt.prompt,
        ":".join([receipt.model, receipt.adapters[0].route]),
        seed=receipt.seed,
        num_inference_steps=receipt.num_inference_steps,
    )
    assert again == picture


def test_a_transparent_background_leaves_the_subject(client: Client) -> None:
    data = drawn(client, "a red circle on white", background="transparent")
    image = Image.open(io.BytesIO(data))
    alpha = np.asarray(image.getchannel("A"))
    assert image.mode == "RGBA"
    assert (alpha[:4].max(), alpha[:, :4].max()) == (0, 0)
    assert alpha[56:72, 56:72].min() == 255


def test_other_sizes_are_resampled_and_said_to_be(client: Client) -> None:
    body = {"model": "emoji", "prompt": "a cat", "size": "512x512", "response_format": "b64_json"}
    answer = client.post("/v1/images/generations", json=body).json()
    assert (answer["size"], answer["rendered_size"]) == ("512x512", "128x128")


def test_plain_diffusers_loads_and_draws_it() -> None:
    import torch  # noqa: PLC0415  takes seconds
    from diffusers import DiffusionPipeline  # noqa: PLC0415

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of component types that its hints do not name
        pipe = DiffusionPipeline.from_pretrained(ROOT / "models" / "emoji", dtype=torch.float32)
        pipe.set_progress_bar_config(disable=True)
        generator = torch.Generator().manual_seed(7)
        given = {"num_inference_steps": 4, "guidance_scale": 1.0, "generator": generator}
        image = pipe("a red circle on white", **given).images[0]
    red = middle(np.asarray(image, np.float64))
    assert red[0] > max(red[1], red[2]) + 80


def test_everything_bundled_fits_its_bound() -> None:
    folder = ROOT / "models" / "emoji"
    weights = sum(path.stat().st_size for path in folder.rglob("*.safetensors"))
    assert weights <= 80 * 10**6
