"""Prompts over HTTP: weighted words, words of embeddings, and those that lie in a LoRA's file."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest
from litestar import Litestar
from litestar.testing import TestClient
from PIL import Image
from safetensors.torch import load_file, save_file

from gateway.app import create_app
from gateway.settings import Settings
from tests.engine import tiny, tiny_loras
from tests.engine.adapters.test_embeddings import cards, loaded
from tests.engine.pipelines import test_weighting as weighting
from tests.engine.workbench import alone, job

Client = TestClient[Litestar]
ROUNDING = 1.01 / 255


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two endpoints of one model, an embedding, and a LoRA that has another word in its file."""
    folder = tmp_path_factory.mktemp("words")
    guidance = {"default": 7.5}
    tiny.save("sd", folder / "models", guidance=guidance)
    tiny.save("sd", folder / "models", id="weighted", prompts="weighted", guidance=guidance)
    for place in ("embeddings/sd", "adapters/sd"):
        (folder / place).mkdir(parents=True)
    word, other = cards(folder / "embeddings/sd", "sd")
    ink = tiny_loras.save("sd", folder / "adapters/sd", "ink").place
    bundled = {f"bundle_emb.{other.route}.string_to_param.*": load_file(other.place)["<any>"]}
    save_file(load_file(ink) | bundled, ink)
    other.place.rename(folder / other.place.name)
    assert word.place.exists()
    return folder


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[Client]:
    settings = Settings(models=folder / "models", adapters=folder / "adapters",
                        embeddings=folder / "embeddings", endpoints=("sd", "weighted"),
                        data=folder / "data", threads=1)  # fmt: skip
    with TestClient(create_app(settings)) as found:
        yield found


def drawn(client: Client, model: str, prompt: str, seed: int) -> Any:
    body = {"model": model, "prompt": prompt, "seed": seed, "num_inference_steps": 2}
    answer = client.post("/v1/images/generations", json=body, headers={"Accept": "image/png"})
    assert answer.status_code == 200, answer.text
    image = Image.open(io.BytesIO(answer.content)).convert("RGB")
    return numpy.asarray(image, dtype=numpy.float32) / 255


def differ(pixels: Any, picture: Any) -> float:
    return float(numpy.abs(pixels - picture.permute(1, 2, 0).float().numpy()).max())


def test_weights_in_a_prompt_draw_what_compel_reads(client: Client) -> None:
    pixels = drawn(client, "weighted", "a (red:1.4) cat", 1)
    wanted = job("sd", "a (red)1.4 cat", 1, 2)
    assert differ(pixels, weighting.stock("sd", wanted, "a (red)1.4 cat")) <= ROUNDING


def test_an_embeddings_word_draws_what_diffusers_makes_of_it(
    client: Client, folder: Path
) -> None:
    pixels = drawn(client, "sd", "a photo of ohwx here", 1)
    pipeline: Any = tiny.build("sd")
    plain = alone(pipeline, job("sd", "a photo of ohwx here", 1, 2))
    pipeline.load_textual_inversion(str(folder / "embeddings/sd/ohwx.safetensors"), token="ohwx")
    assert differ(pixels, alone(pipeline, job("sd", "a photo of ohwx here", 1, 2))) <= ROUNDING
    assert differ(pixels, plain) > 2 * ROUNDING


def test_a_word_in_a_loras_file_is_read_where_the_lora_is_asked_for(
    client: Client, folder: Path
) -> None:
    file = load_file(folder / "adapters/sd/ink.safetensors")
    lora = {name: weight for name, weight in file.items() if not name.startswith("bundle_emb")}
    pipeline = loaded("sd", [], lora)
    wanted = job("sd", "bad-hands", 1, 2)
    wordless = alone(pipeline, wanted)
    pipeline.load_textual_inversion(str(folder / "bad-hands.safetensors"), token="bad-hands")
    pixels = drawn(client, "sd:ink", "bad-hands", 1)
    assert differ(pixels, alone(pipeline, wanted)) <= ROUNDING
    assert differ(pixels, wordless) > 2 * ROUNDING
    assert differ(drawn(client, "sd", "bad-hands", 1), alone(tiny.build("sd"), wanted)) <= ROUNDING
