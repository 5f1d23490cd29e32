"""Hugging Face's inference, by its own client where it can, over an engine that paints plainly."""

import base64
from collections.abc import Iterator
from typing import Any

import pytest
from litestar.testing import TestClient

from gateway.app import create_app
from gateway.settings import Settings
from tests.images.test_decode import RED, saved
from tests.small_engine import TestEngine
from tests.web.openai.asking import Client, picture, two_endpoints

PNG = base64.b64encode(saved(RED.resize((96, 64)), "PNG")).decode()


@pytest.fixture(scope="module")
def engine() -> TestEngine:
    return TestEngine()


@pytest.fixture(scope="module")
def client(engine: TestEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    settings = Settings(endpoints=("tiny",), data=tmp_path_factory.mktemp("data"))
    with TestClient(create_app(settings, engine, two_endpoints())) as client:
        yield client


def infer(client: Client, inputs: Any, path: str = "/models/tiny", **parameters: Any) -> Any:
    return client.post(path, json={"inputs": inputs, "parameters": parameters})


@pytest.mark.parametrize("path", ["/", "/models/tiny", "/models/tiny:style"])
def test_a_prompt_is_a_pictures_bytes(client: Client, engine: TestEngine, path: str) -> None:
    answer = infer(client, "a cat", path, width=96, height=64, seed=7, num_inference_steps=3)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert picture(answer.content).size == (96, 64)
    job = engine.jobs[-1]
    assert (job.prompt, job.seeds, job.num_inference_steps) == ("a cat", (7,), 3)
    assert bool(job.adapters) == path.endswith("style")
    assert "x-warnings" not in answer.headers


def test_a_picture_is_redrawn(client: Client, engine: TestEngine) -> None:
    size = {"width": 64, "height": 64}
    answer = infer(client, PNG, prompt="in snow", target_size=size, negative_prompt="blur")
    assert answer.status_code == 200
    job = engine.jobs[-1]
    assert (job.prompt, len(job.images), job.width, job.negative_prompt) == (
        "in snow",
        1,
        64,
        "blur",
    )


def test_the_form_that_is_accepted_comes(client: Client) -> None:
    headers = {"Accept": "image/webp"}
    answer = client.post("/models/tiny", json={"inputs": "a cat"}, headers=headers)
    assert picture(answer.content).format == "WEBP"


@pytest.mark.parametrize(
    ("path", "body", "status", "param"),
    [
        ("/models/gone", {"inputs": "a cat"}, 404, "model"),
        ("/", {"inputs": {"a": 1}}, 400, "inputs"),
        ("/", {}, 400, "prompt"),
        ("/", {"inputs": "a cat", "parameters": [1]}, 400, "parameters"),
        ("/", {"inputs": "a cat", "parameters": {"n": 2}}, 400, "n"),
        ("/", {"inputs": "data:image/png;base64,!", "parameters": {"prompt": "x"}}, 400, "inputs"),
    ],
)
def test_refusals_are_in_its_own_words(
    client: Client, path: str, body: Any, status: int, param: str
) -> None:
    answer = client.post(path, json=body)
    assert answer.status_code == status
    assert isinstance(answer.json()["error"], str)
    assert answer.json()["param"] == param


def test_other_dialects_keep_their_paths(client: Client) -> None:
    assert client.get("/models/tiny").json()["id"] == "tiny"
    assert client.get("/models/gone").json()["error"]["code"] == "model_not_found"
    assert client.get("/").headers["content-type"].startswith("text/html")
