"""Single files as they come from merges, trainers and other programs, drawn over HTTP.

Each picture is that of stock diffusers with the weights that the file means.
"""

import io
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy
import pytest
import torch
from diffusers import StableDiffusionInpaintPipeline
from litestar import Litestar
from litestar.testing import TestClient
from PIL import Image
from safetensors.torch import save_file

from gateway.app import create_app
from gateway.settings import Settings
from tests.engine import single_files, tiny
from tests.engine.renaming import Weights
from tests.engine.workbench import alone, job

Client = TestClient[Litestar]
ROUNDING = 1.01 / 255
UNET, VAE, TEXT = "model.diffusion_model.", "first_stage_model.", "cond_stage_model."
NOTES = {
    "modelspec.sai_model_spec": "1.0.0", "modelspec.prediction_type": "v", "ss_v2": "False",
    "modelspec.thumbnail": "data:image/jpeg;base64,AAAA", "format": "pt",
}  # fmt: skip


class Case(NamedTuple):
    """A family's pipeline as a file: what becomes of its weights, what stock draws, and lines."""

    family: str
    written: Callable[[Any, Weights], Weights]
    meant: Callable[[Any], None] = lambda pipeline: None
    lines: str = ""
    notes: dict[str, str] | None = None
    ending: str = ".sft"


def without(start: str) -> Callable[[Any, Weights], Weights]:
    return lambda _, weights: {
        name: weight for name, weight in weights.items() if not name.startswith(start)
    }


def averaged(_: Any, weights: Weights) -> Weights:
    """With the averages that a training keeps beside its model, and what else it leaves."""
    ours = {name: weight for name, weight in weights.items() if name.startswith(UNET)}
    averages = {
        f"model_ema.{name.removeprefix('model.').replace('.', '')}": torch.full_like(weight, 9.0)
        for name, weight in ours.items()
    }
    more = {"model_ema.decay": torch.tensor(0.99), "model_ema.num_updates": torch.tensor(7),
            "betas": torch.zeros(9), "posterior_variance": torch.zeros(9),
            "logvar": torch.zeros(9)}  # fmt: skip
    return weights | averages | more


DTYPES = {UNET: torch.float16, VAE: torch.float32, TEXT: torch.bfloat16}
PARTS = {UNET: "unet", VAE: "vae", TEXT: "text_encoder"}


def mixed(_: Any, weights: Weights) -> Weights:
    return {
        name: weight.to(next((kind for start, kind in DTYPES.items() if name.startswith(start)),
                             weight.dtype))
        for name, weight in weights.items()
    }  # fmt: skip


def rounded(pipeline: Any) -> None:
    for start, part in PARTS.items():
        for weight in getattr(pipeline, part).parameters():
            weight.data = weight.data.to(DTYPES[start]).float()


def small(_: Any, weights: Weights) -> Weights:
    """The denoiser in float8 without scales, as some programs write it."""
    return {
        name: weight.to(torch.float8_e4m3fn) if name.startswith(UNET) else weight
        for name, weight in weights.items()
    }


def of_small(pipeline: Any) -> None:
    for weight in pipeline.unet.parameters():
        weight.data = weight.data.to(torch.float8_e4m3fn).float()


def of_velocity(**more: Any) -> Callable[[Any], None]:
    def meant(pipeline: Any) -> None:
        told = {"prediction_type": "v_prediction", **more}
        pipeline.scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config, **told)

    return meant


CASES = {
    "averages beside": Case("sd", averaged),
    "three dtypes": Case("sd", mixed, rounded),
    "plain float8": Case("sd", small, of_small),
    "no autoencoder": Case("sd", without(VAE), lines='components.vae = "AE.SafeTensors"'),
    "no text encoder": Case("sd", without(TEXT), lines='components.text_encoder = "l.safetensors"'),
    "velocity by notes": Case("sd", lambda _, weights: weights, of_velocity(), notes=NOTES),
    "velocity by marks": Case(
        "sdxl", lambda _, weights: weights | {"v_pred": torch.empty(0), "ztsnr": torch.empty(0)},
        of_velocity(rescale_betas_zero_snr=True),
    ),
    "velocity and a card's scheduler": Case(
        "sd", lambda _, weights: weights | {"v_pred": torch.empty(0)},
        of_velocity(timestep_spacing="trailing"),
        'scheduler = { class = "EulerDiscreteScheduler", config.timestep_spacing = "trailing" }',
    ),
    "inpainting": Case("inpainting", lambda _, weights: weights, ending=".SAFETENSORS"),
}  # fmt: skip
MAKERS = {"sd": single_files.sd_file, "sdxl": single_files.sdxl_file,
          "inpainting": single_files.sd_file}  # fmt: skip


def build(family: str) -> Any:
    return tiny.built(_inpainting) if family == "inpainting" else single_files.build(family)


def _inpainting() -> Any:
    parts = tiny.sd().components | {"unet": tiny.unet(in_channels=9)}
    return StableDiffusionInpaintPipeline(**parts, requires_safety_checker=False)


def id_of(name: str) -> str:
    return name.replace(" ", "-").replace("'", "")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("models")
    for family in MAKERS:
        pipeline = build(family)
        held = single_files.whole_parts(pipeline)
        single_files.configs(pipeline, folder / "of" / family, without=held)
    plain = tiny.build("sd")
    single_files.save(single_files.vae(plain.vae.state_dict(), ""), folder / "AE.SafeTensors")
    single_files.save(single_files.clip(plain.text_encoder.state_dict(), ""),
                      folder / "l.safetensors")  # fmt: skip
    for name, case in CASES.items():
        pipeline = build(case.family)
        weights = case.written(pipeline, MAKERS[case.family](pipeline))
        own = {each: weight.contiguous().clone() for each, weight in weights.items()}
        save_file(own, folder / f"{id_of(name)}{case.ending}", case.notes)
        lines = [f'id = "{id_of(name)}"', f'source = "{id_of(name)}{case.ending}"',
                 f'config = "of/{case.family}"', 'dtype = "float32"', "guidance.default = 1.0",
                 "sizes = { native = [32, 32], min = 16, max = 64, multiple_of = 16 }",
                 case.lines]  # fmt: skip
        (folder / f"{id_of(name)}.toml").write_text("\n".join(lines))
    settings = Settings(models=folder, data=tmp_path_factory.mktemp("data"), threads=1)
    with TestClient(create_app(settings)) as found:
        yield found


def drawn(client: Client, model: str) -> Any:
    body = {"model": model, "prompt": "a cat", "seed": 1, "num_inference_steps": 2}
    answer = client.post("/v1/images/generations", json=body, headers={"Accept": "image/png"})
    assert answer.status_code == 200, answer.text
    image = Image.open(io.BytesIO(answer.content)).convert("RGB")
    return numpy.asarray(image, dtype=numpy.float32) / 255


@pytest.mark.parametrize("name", CASES)
def test_a_file_means_what_stock_diffusers_draws(client: Client, name: str) -> None:
    case = CASES[name]
    pipeline = build(case.family)
    plain = alone(pipeline, job(case.family, "a cat", 1, 2, guidance_scale=1.0))
    case.meant(pipeline)
    wanted = alone(pipeline, job(case.family, "a cat", 1, 2, guidance_scale=1.0))
    pixels = drawn(client, id_of(name))
    assert numpy.abs(pixels - wanted.permute(1, 2, 0).float().numpy()).max() <= ROUNDING
    if name.startswith("velocity"):
        assert (wanted - plain).abs().max() > 2 * ROUNDING
