"""Single files in the layouts their authors publish in, dropped bare or named by a card.

Each is drawn over HTTP: the picture is that of the pipeline in stock diffusers that the file was
made of.
"""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest
from litestar import Litestar
from litestar.testing import TestClient
from PIL import Image

from gateway.app import create_app
from gateway.settings import Settings
from tests.engine import single_files
from tests.engine.renaming import Weights, sd3
from tests.engine.workbench import ARGUMENTS, alone, job

Client = TestClient[Litestar]
ROUNDING = 1.01 / 255
WHOLE = ("sd", "sd2", "sdxl", "sd3")
"""Layouts that have every part in the one file."""

UNET = "model.diffusion_model."
PACKED = {
    "flux": single_files.LAYOUTS["flux as diffusers saves it"],
    "qwen_image": single_files.LAYOUTS["qwen_image"],
    "sd3": ("sd3", single_files.denoiser_file(sd3)),
    "z_image": single_files.LAYOUTS["z_image"],
    "sdxl": ("sdxl", lambda pipeline: lone(single_files.sdxl_file(pipeline))),
    "sdxl as diffusers saves it": ("sdxl", lambda pipeline: pipeline.unet.state_dict()),
}
"""Denoisers that people have as GGUF; a UNet's convolutions are packed in them, too."""


def id_of(layout: str) -> str:
    return layout.replace(" ", "-")


def lone(weights: Weights) -> Weights:
    """The denoiser of a whole model, without what its names begin with there."""
    return {name.removeprefix(UNET): weight for name, weight in weights.items() if UNET in name}


def denoiser_of(pipeline: Any) -> str:
    return "unet" if hasattr(pipeline, "unet") else "transformer"


def arguments_of(family: str) -> dict[str, Any]:
    return {name: value for name, value in ARGUMENTS.get(family, {}).items() if value is not None}


def add(file: Path, family: str, pipeline: Any, held: tuple[str, ...]) -> None:
    """The card of a file, beside the configs and weights that it lacks."""
    id, folder = file.stem, file.parent
    single_files.configs(pipeline, folder / "of" / id, without=held)
    lines = [f'id = "{id}"', f'source = "{file.name}"', f'config = "of/{id}"',
             'dtype = "float32"', "guidance.default = 1.0",
             "sizes = { native = [32, 32], min = 16, max = 64, multiple_of = 16 }"]  # fmt: skip
    given = ARGUMENTS.get(family, {})
    lines.append(f"unset = {[name for name, value in given.items() if value is None]}")
    for name, value in arguments_of(family).items():
        told = str(value).lower() if isinstance(value, bool) else value
        lines.append(f"arguments.{name} = {list(told) if isinstance(told, tuple) else told}")
    (folder / f"{id}.toml").write_text("\n".join(lines))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for layout, (family, made) in single_files.LAYOUTS.items():
        id, pipeline = id_of(layout), single_files.build(family)
        held = single_files.whole_parts(pipeline) if layout in WHOLE else ("transformer",)
        file = single_files.save(made(pipeline), folder / f"{id}.safetensors")
        add(file, family, pipeline, held)
    for layout, (family, made) in PACKED.items():
        id, pipeline = f"{id_of(layout)}-packed", single_files.build(family)
        name = denoiser_of(pipeline)
        file = folder / f"{id}.gguf"
        single_files.save_gguf(made(pipeline), file, in_rows=name == "unet")
        add(file, family, pipeline, (name,))
    return folder


@pytest.fixture(scope="module")
def client(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    settings = Settings(models=folder, data=tmp_path_factory.mktemp("data"), threads=1)
    with TestClient(create_app(settings)) as found:
        yield found


def drawn(client: Client, id: str) -> Any:
    body = {"model": id, "prompt": "a cat", "seed": 1, "num_inference_steps": 2}
    answer = client.post("/v1/images/generations", json=body, headers={"Accept": "image/png"})
    assert answer.status_code == 200, answer.text
    image = Image.open(io.BytesIO(answer.content)).convert("RGB")
    return numpy.asarray(image, dtype=numpy.float32) / 255


def differ(pixels: Any, pipeline: Any, family: str) -> float:
    """How far a picture is from what stock diffusers draws with a pipeline."""
    wanted = job(family, "a cat", 1, 2, guidance_scale=1.0)
    picture = alone(pipeline, wanted).permute(1, 2, 0).float().numpy()
    return float(numpy.abs(pixels - picture).max())


@pytest.mark.parametrize("layout", single_files.LAYOUTS)
def test_a_layout_draws_over_http_what_stock_diffusers_draws(client: Client, layout: str) -> None:
    family, _ = single_files.LAYOUTS[layout]
    pixels = drawn(client, id_of(layout))
    assert differ(pixels, single_files.build(family), family) <= ROUNDING


@pytest.mark.parametrize("layout", PACKED)
def test_a_layout_in_gguf_draws_what_stock_diffusers_draws_of_its_numbers(
    client: Client, folder: Path, layout: str
) -> None:
    family, id = PACKED[layout][0], f"{id_of(layout)}-packed"
    pipeline = single_files.build(family)
    name = denoiser_of(pipeline)
    whole = UNET if layout == "sdxl" else ""  # without it stock converts no UNet
    numbers = single_files.unpacked_gguf(folder / f"{id}.gguf")
    numbers = {whole + own: weight for own, weight in numbers.items()}
    plain = single_files.save(numbers, folder / "plain" / f"{id}.safetensors")
    kind = type(getattr(pipeline, name))
    config = {"config": str(folder / "of" / id), "subfolder": name, "local_files_only": True}
    pipeline.register_modules(**{name: kind.from_single_file(str(plain), **config).eval()})
    assert differ(drawn(client, id), pipeline, family) <= ROUNDING
