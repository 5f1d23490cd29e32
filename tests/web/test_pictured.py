"""A picture beside the prompt over HTTP, by an IP-Adapter in the folder of ControlNets."""

import base64
import io
from pathlib import Path

import numpy
from litestar.testing import TestClient
from PIL import Image

from gateway.app import create_app
from gateway.engine.pipelines.pixels import to_image
from gateway.settings import Settings
from tests.engine import tiny
from tests.engine.adapters.test_pictured import saved, shown, stock, use

ROUNDING = 1.01 / 255


def test_a_picture_beside_the_prompt_draws_what_stock_draws(tmp_path: Path) -> None:
    tiny.save("sd", tmp_path / "models", guidance={"default": 1.0})
    folder = saved("sd", tmp_path / "controlnets/sd/style", 1)
    wanted = shown("sd", 1, use("style", 1, 0.6))
    file = io.BytesIO()
    to_image(wanted.controls[0].image).save(file, "PNG")
    entry = {"image": base64.b64encode(file.getvalue()).decode(), "controlnet": "style",
             "weight": 0.6}  # fmt: skip
    body = {"model": "sd", "prompt": wanted.prompt, "seed": 1, "num_inference_steps": 2,
            "control_images": [entry]}  # fmt: skip
    settings = Settings(
        models=tmp_path / "models", controlnets=tmp_path / "controlnets", endpoints=("sd",),
        data=tmp_path / "data", threads=1,
    )  # fmt: skip
    with TestClient(create_app(settings)) as client:
        listed = {one["id"]: one for one in client.get("/v1/models").json()["data"]}
        answer = client.post(
            "/v1/images/generations", json=body, headers={"Accept": "image/png"}
        )
    assert listed["sd"]["controlnets"] == ["style"]
    assert answer.status_code == 200, answer.text
    image = Image.open(io.BytesIO(answer.content)).convert("RGB")
    pixels = numpy.asarray(image, dtype=numpy.float32) / 255
    picture = stock("sd", wanted, [folder]).permute(1, 2, 0).float().numpy()
    assert numpy.abs(pixels - picture).max() <= ROUNDING
