"""Single files in the layouts their authors publish in, dropped bare or named by a card.

Each is drawn over HTTP: the picture is that of the pipeline in stock diffusers that the file was
made of.
"""

import io
from collections.abc import Iterator
from typing import Any

import numpy
import pytest
from litestar import Litestar
from litestar.testing import TestClient
from PIL import Image

from gateway.app import create_app
from gateway.settings import Settings
from tests.engine import single_files
from tests.engine.workbench import ARGUMENTS, alone, job

Client = TestClient[Litestar]
ROUNDING = 1.01 / 255
WHOLE = ("sd", "sd2", "sdxl", "sd3")
"""Layouts that have every part in the one file."""


def id_of(layout: str) -> str:
    return layout.replace(" ", "-")


def arguments_of(family: str) -> dict[str, Any]:
    return {name: value for name, value in ARGUMENTS.get(family, {}).items() if value is not None}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("models")
    for layout, (family, made) in single_files.LAYOUTS.items():
        id, pipeline = id_of(layout), single_files.build(family)
        held = single_files.whole_parts(pipeline) if layout in WHOLE else ("transformer",)
        single_files.save(made(pipeline), folder / f"{id}.safetensors")
        single_files.configs(pipeline, folder / "of" / id, without=held)
        lines = [f'id = "{id}"', f'source = "{id}.safetensors"', f'config = "of/{id}"',
                 'dtype = "float32"', "guidance.default = 1.0",
                 "sizes = { native = [32, 32], min = 16, max = 64, multiple_of = 16 }"]  # fmt: skip
        given = ARGUMENTS.get(family, {})
        lines.append(f"unset = {[name for name, value in given.items() if value is None]}")
        for name, value in arguments_of(family).items():
            told = str(value).lower() if isinstance(value, bool) else value
            lines.append(f"arguments.{name} = {list(told) if isinstance(told, tuple) else told}")
        (folder / f"{id}.toml").write_text("\n".join(lines))
    settings = Settings(models=folder, data=tmp_path_factory.mktemp("data"), threads=1)
    with TestClient(create_app(settings)) as found:
        yield found


@pytest.mark.parametrize("layout", single_files.LAYOUTS)
def test_a_layout_draws_over_http_what_stock_diffusers_draws(client: Client, layout: str) -> None:
    body = {"model": id_of(layout), "prompt": "a cat", "seed": 1, "num_inference_steps": 2}
    answer = client.post("/v1/images/generations", json=body, headers={"Accept": "image/png"})
    assert answer.status_code == 200, answer.text
    image = Image.open(io.BytesIO(answer.content)).convert("RGB")
    pixels = numpy.asarray(image, dtype=numpy.float32) / 255
    family, _ = single_files.LAYOUTS[layout]
    wanted = job(family, "a cat", 1, 2, guidance_scale=1.0)
    picture = alone(single_files.build(family), wanted).permute(1, 2, 0).float().numpy()
    assert numpy.abs(pixels - picture).max() <= ROUNDING
