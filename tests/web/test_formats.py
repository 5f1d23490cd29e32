"""Every format of weights that the docs list, served over HTTP: the picture is stock diffusers'.

The rows of the table in `gateway/catalog/README.md` are those of `ROWS`.
"""

import hashlib
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest
from huggingface_hub import constants
from litestar import Litestar
from litestar.testing import TestClient
from PIL import Image

from gateway.app import create_app
from gateway.catalog.folders import load_catalog
from gateway.engine.check import check
from gateway.engine.loading.loading import load
from gateway.settings import Settings
from tests.engine import single_files, tiny
from tests.engine.workbench import CPU, alone, job
from tests.serving import ROOT

Client = TestClient[Litestar]
SIZES = "sizes = { native = [32, 32], min = 16, max = 256, multiple_of = 16 }\n"
STEPS = "steps = { min = 1, max = 3, default = 2 }\n"
ROUNDING = 1.01 / 255


class Row:
    """A format: the family it is tried on, the card's own lines, and what makes its files."""

    def __init__(self, family: str, lines: str, *, is_packed: bool = False) -> None:
        self.family = family
        self.lines = lines
        self.is_packed = is_packed


def transformer(quantized: str) -> Row:
    lines = f'source = "z_image"\ncomponents.transformer.quantized = "{quantized}"\n'
    return Row("z_image", lines, is_packed=True)


ROWS = {
    "folder of diffusers": Row("z_image", 'source = "z_image"\n'),
    "whole model in one file": Row("sd", 'source = "sd.safetensors"\nconfig = "sd"\n'),
    "transformer alone": Row("z_image", 'source = "z.safetensors"\nconfig = "z_image"\n'),
    "files of ComfyUI": Row(
        "z_image",
        'source = "diffusion_models/z.safetensors"\nconfig = "bare"\n'
        'components.text_encoder = "text_encoders/qwen.safetensors"\n'
        'components.vae = "vae/ae.safetensors"\n',
    ),
    "another part": Row("sd", 'source = "sd"\ncomponents.unet = "unet.safetensors"\n'),
    "scaled float8": Row("z_image", 'source = "scaled.safetensors"\nconfig = "z_image"\n',
                         is_packed=True),
    "GGUF": Row("z_image", 'source = "z.GGUF"\nconfig = "z_image"\n', is_packed=True),
    "torchao": transformer("torchao-int8"),
    "quanto": transformer("quanto-int8"),
    "layerwise float8": transformer("layerwise-float8"),
}  # fmt: skip
ELSEWHERE = {
    "bare file", "bitsandbytes", "IP-Adapter", "model of videos", "pickle", "version on Civitai",
}  # fmt: skip
"""Rows of the table that have a test of their own, or that a machine without a GPU only tells."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    sd, z_image = tiny.build("sd"), tiny.build("z_image")
    sd.save_pretrained(folder / "sd")
    z_image.save_pretrained(folder / "z_image")
    held = ("transformer", "text_encoder", "vae")
    single_files.configs(z_image, folder / "bare", without=held)
    save: Callable[..., Path] = single_files.save
    save(single_files.sd_file(sd), folder / "sd.safetensors")
    save(sd.unet.state_dict(), folder / "unet.safetensors")
    weights = single_files.z_image(z_image.transformer.state_dict())
    save(weights, folder / "z.safetensors")
    save(weights, folder / "diffusion_models/z.safetensors")
    save(z_image.text_encoder.state_dict(), folder / "text_encoders/qwen.safetensors")
    save(single_files.vae(z_image.vae.state_dict(), ""), folder / "vae/ae.safetensors")
    save(single_files.scaled(weights, ("scale_weight", "scale_input")),
         folder / "scaled.safetensors")
    single_files.save_gguf(weights, folder / "z.GGUF")
    single_files.configs(wide(), folder / "wide", without=("transformer",))
    save(weights, folder / "my-mix.safetensors")
    for name, row in ROWS.items():
        head = f'id = "{id_of(name)}"\ndtype = "float32"\nguidance.default = 1.0\n'
        (folder / f"{id_of(name)}.toml").write_text(head + SIZES + STEPS + row.lines)
    return folder


def id_of(name: str) -> str:
    return name.replace(" ", "-")


@pytest.fixture(scope="module")
def client(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    data = tmp_path_factory.mktemp("data")
    cache = tmp_path_factory.mktemp("cache")
    cached(folder / "wide", "Tongyi-MAI/Z-Image-Turbo", cache)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "HF_HUB_CACHE", str(cache))
        with TestClient(create_app(Settings(models=folder, data=data, threads=1))) as client:
            yield client


def drawn(client: Client, name: str, **more: Any) -> tuple[Any, dict[str, str]]:
    body = {"model": id_of(name), "prompt": "a cat", "seed": 1, "num_inference_steps": 2} | more
    answer = client.post("/v1/images/generations", json=body, headers={"Accept": "image/png"})
    assert answer.status_code == 200, answer.text
    image = Image.open(io.BytesIO(answer.content))
    pixels = numpy.asarray(image.convert("RGB"), dtype=numpy.float32) / 255
    return pixels, {str(key): str(value) for key, value in image.info.items()}


def stock(folder: Path, name: str) -> Any:
    """The picture of plain diffusers: what the files were made of, or what it packed itself."""
    row = ROWS[name]
    card = load_catalog((folder,), ()).endpoints[id_of(name)]
    pipeline = load(card, CPU).base if row.is_packed else tiny.build(row.family)
    wanted = job(row.family, "a cat", 1, 2, guidance_scale=1.0)
    return alone(pipeline, wanted).permute(1, 2, 0).float().numpy()


@pytest.mark.parametrize("name", ROWS)
def test_a_format_draws_over_http_what_stock_diffusers_draws(
    client: Client, folder: Path, name: str
) -> None:
    pixels, _ = drawn(client, name)
    assert numpy.abs(pixels - stock(folder, name)).max() <= ROUNDING


@pytest.mark.parametrize("name", ROWS)
def test_a_format_passes_the_check(folder: Path, name: str) -> None:
    catalog = load_catalog((folder,), ())
    found = check(catalog.resolve(id_of(name)), catalog, Settings(max_batch=4, threads=1))
    assert found.holds, found
    assert found.num_forwards < found.num_calls


def test_the_digest_of_a_single_file_is_its_own(client: Client, folder: Path) -> None:
    _, told = drawn(client, "whole model in one file")
    digest = hashlib.sha256((folder / "sd.safetensors").read_bytes()).hexdigest()[:16]
    assert digest in str(told)


def cached(folder: Path, repository: str, cache: Path) -> None:
    """Put a folder into a hub's cache, as if it had been fetched."""
    place = cache / f"models--{repository.replace('/', '--')}"
    (place / "refs").mkdir(parents=True)
    (place / "refs/main").write_text("abc")
    (place / "snapshots").mkdir()
    (place / "snapshots/abc").symlink_to(folder, target_is_directory=True)


def wide() -> Any:
    """A pipeline that takes the sizes which are inferred where no card says any."""
    pipeline = tiny.build("z_image")
    config = dict(pipeline.transformer.config) | {"axes_lens": [512, 128, 128]}
    transformer = type(pipeline.transformer).from_config(config).eval()
    transformer.load_state_dict(pipeline.transformer.state_dict())
    pipeline.register_modules(transformer=transformer)
    return pipeline


def test_a_bare_file_draws_with_the_configs_it_goes_with(client: Client, folder: Path) -> None:
    listed = client.get("/v1/models").json()["data"]
    assert "ready" in [each["state"] for each in listed if each["id"] == "my-mix"]
    pixels, _ = drawn(client, "my-mix", size="256x256", num_inference_steps=1)
    card = load_catalog((folder,), ()).endpoints["my-mix"]
    wanted = job("z_image", "a cat", 1, 1, width=256, height=256,
                 guidance_scale=card.guidance.default)
    picture = alone(wide(), wanted).permute(1, 2, 0).float().numpy()
    assert numpy.abs(pixels - picture).max() <= ROUNDING


def test_the_table_of_formats_has_every_row_and_no_other() -> None:
    text = (ROOT / "gateway/catalog/README.md").read_text()
    table = text.partition("\n## Formats")[2].partition("\n## ")[0]
    listed = set(re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE))
    assert listed == ROWS.keys() | ELSEWHERE
