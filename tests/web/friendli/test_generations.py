"""Friendli's dialect: the dedicated endpoints, and the container wherever it is met."""

import base64
from collections.abc import Iterator
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from gateway.app import create_app
from gateway.settings import Settings
from tests.small_engine import TestEngine
from tests.web.openai.asking import picture, refused, two_endpoints

DEDICATED = "/dedicated/v1/images/generations"
AGENT = "speakeasy-sdk/python 0.16.3 2.950.2 0.1.0 friendli-core"
Client = TestClient[Litestar]


@pytest.fixture(scope="module")
def engine() -> TestEngine:
    return TestEngine()


@pytest.fixture(scope="module")
def client(engine: TestEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    settings = Settings(endpoints=("tiny",), data=tmp_path_factory.mktemp("data"))
    with TestClient(create_app(settings, engine, two_endpoints())) as client:
        yield client


def dedicated(client: Client, **body: Any) -> Any:
    return client.post(DEDICATED, json={"model": "tiny", "prompt": "a cat", **body})


def test_default_call_of_the_sdk_is_lowered_to_the_cards_steps(
    client: Client, engine: TestEngine
) -> None:
    answer = dedicated(client, num_inference_steps=20)
    assert answer.status_code == 200
    assert engine.jobs[-1].num_inference_steps == 10
    assert answer.headers["x-num-inference-steps"] == "10"
    item = answer.json()["data"][0]
    assert item["response_format"] == "url"
    assert isinstance(item["seed"], int)
    assert "b64_json" not in item
    assert client.get(item["url"]).headers["content-type"] == "image/png"


def test_steps_within_the_range_are_kept_without_a_word(client: Client, engine: TestEngine) -> None:
    answer = dedicated(client, num_inference_steps=4, model="tiny:style")
    assert engine.jobs[-1].num_inference_steps == 4
    assert "x-num-inference-steps" not in answer.headers
    assert engine.jobs[-1].adapters[0].route == "style"


@pytest.mark.parametrize(
    ("form", "kind"), [("png", "PNG"), ("jpeg", "JPEG"), ("jpg", "JPEG"), ("raw", None)]
)
def test_kinds_are_never_mixed(client: Client, form: str, kind: str | None) -> None:
    item = dedicated(client, response_format=form, seed=1).json()["data"][0]
    assert "url" not in item
    assert item["response_format"] == form
    data = base64.b64decode(item["b64_json"])
    if kind:
        assert picture(data).format == kind
    else:
        assert data == bytes((1, 0, 0)) * item["width"] * item["height"]


def test_dedicated_needs_a_model_and_refuses_other_formats(client: Client) -> None:
    answer = client.post(DEDICATED, json={"prompt": "a cat"})
    refused(answer, 400, "missing_required_parameter", "model")
    assert dedicated(client, response_format="b64_json").status_code == 400
    refused(dedicated(client, model="tiny:none"), 404, "model_not_found", "model")


@pytest.mark.parametrize(
    ("path", "agent"),
    [("/v1/images/generations", AGENT), ("/container/v1/images/generations", "anything")],
)
def test_container_answers_one_picture_in_base64(
    client: Client, engine: TestEngine, path: str, agent: str
) -> None:
    body = {"prompt": "a cat", "num_inference_steps": 20, "guidance_scale": 0.0, "model": "style"}
    answer = client.post(path, json=body, headers={"user-agent": agent})
    assert picture(base64.b64decode(answer.json()["image"])).format == "JPEG"
    job = engine.jobs[-1]
    assert (job.endpoint, job.adapters[0].route, job.num_inference_steps) == ("tiny", "style", 10)


def test_shared_path_is_openais_for_everyone_else(client: Client) -> None:
    answer = client.post("/v1/images/generations", json={"prompt": "a cat"})
    assert "image" not in answer.json()
    assert answer.json()["data"]
