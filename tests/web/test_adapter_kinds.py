"""Adapters of every kind over HTTP: `endpoint:adapter` draws what stock draws, in 8 bits."""

import io
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy
import pytest
from litestar import Litestar
from litestar.testing import TestClient
from PIL import Image
from torch import Tensor

from gateway.app import create_app
from gateway.job import Job
from gateway.settings import Settings
from tests.engine import tiny, tiny_loras
from tests.engine.adapters import test_lycoris, test_tuned
from tests.engine.adapters.drawing import drawn_with
from tests.engine.workbench import alone, job

Client = TestClient[Litestar]
Drawing = Callable[[Job], Tensor]
ROUNDING = 1.01 / 255
PEFT = ("lora-beside-whole-modules", "adalora", "vera", "boft")
LYCORIS = ("locon-tucker", "lokr", "glora", "full", "boft", "dora")
LISTED = {"peft-vera": ["VeRA"], "lycoris-glora": ["GLoRA"], "lycoris-dora": ["DoRA"],
          "peft-boft": ["BOFT"], "ink": ["LoRA"]}  # fmt: skip


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Drawing]]:
    """Files of all kinds, beside an endpoint, and what draws the pictures that are wanted."""
    folder = tmp_path_factory.mktemp("kinds")
    tiny.save("sd", folder / "models", guidance={"default": 1.0})
    beside = folder / "adapters/sd"
    beside.mkdir(parents=True)
    wanted: dict[str, Drawing] = {}
    for kind in PEFT:
        merged = test_tuned.written("sd", test_tuned.KINDS[kind](), beside / f"peft-{kind}")
        wanted[f"peft-{kind}"] = partial(drawn_with, "sd", merged, 1.0)
    for kind in LYCORIS:
        trained = test_lycoris.Trained(kind, beside / f"lycoris-{kind}.safetensors")
        wanted[f"lycoris-{kind}"] = partial(trained.drawn, 1.0)
    tiny_loras.save("sd", beside, "ink")
    plain = tiny.build("sd")
    plain.load_lora_weights(str(beside), weight_name="ink.safetensors")
    wanted["ink"] = partial(alone, plain)
    return folder, wanted


@pytest.fixture(scope="module")
def client(
    stock: tuple[Path, dict[str, Drawing]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Client]:
    folder, _ = stock
    settings = Settings(
        models=folder / "models", adapters=folder / "adapters", endpoints=("sd",), threads=1,
        data=tmp_path_factory.mktemp("data"),
    )
    with TestClient(create_app(settings)) as client:
        yield client


def drawn(client: Client, route: str) -> Any:
    body = {"model": f"sd:{route}", "prompt": "a cat", "seed": 1, "num_inference_steps": 1}
    answer = client.post("/v1/images/generations", json=body, headers={"Accept": "image/png"})
    assert answer.status_code == 200, answer.text
    image = Image.open(io.BytesIO(answer.content)).convert("RGB")
    return numpy.asarray(image, dtype=numpy.float32) / 255


def test_each_draws_what_stock_draws(
    client: Client, stock: tuple[Path, dict[str, Drawing]]
) -> None:
    _, wanted = stock
    with ThreadPoolExecutor(len(wanted)) as threads:  # so that they meet in one forward
        asked = threads.map(lambda route: drawn(client, route), wanted)
        pictures = dict(zip(wanted, asked, strict=True))
    one = job("sd", "a cat", 1, 1, guidance_scale=1.0)
    bare = alone(tiny.build("sd"), one).permute(1, 2, 0).float().numpy()
    far = {
        route: (numpy.abs(pictures[route] - image).max(), numpy.abs(image - bare).max())
        for route, draw in wanted.items()
        for image in [draw(one).permute(1, 2, 0).float().numpy()]
    }
    assert not {route: each for route, each in far.items() if each[0] > ROUNDING}
    assert not {route: each for route, each in far.items() if each[1] < 2 * ROUNDING}


def test_the_list_of_models_tells_their_kinds(client: Client) -> None:
    listed = {one["id"]: one for one in client.get("/v1/models").json()["data"]}
    assert {route: listed[f"sd:{route}"]["kinds"] for route in LISTED} == LISTED
