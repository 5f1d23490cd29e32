"""ControlNets over HTTP: Friendli's fields, on its paths and on OpenAI's."""

import base64
import re
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient
from PIL import Image

from gateway.app import create_app
from gateway.settings import Settings
from tests.small_engine import TestEngine
from tests.web.openai.asking import refused, two_endpoints

DEDICATED = "/dedicated/v1/images/generations"
PATHS = (DEDICATED, "/container/v1/images/generations", "/v1/images/generations")
Client = TestClient[Litestar]


def encoded(shade: int, edge: int = 8) -> str:
    file = BytesIO()
    Image.new("RGB", (edge, edge), (shade, 0, 0)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


@pytest.fixture(scope="module")
def engine() -> TestEngine:
    return TestEngine()


@pytest.fixture(scope="module")
def client(engine: TestEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    settings = Settings(endpoints=("tiny",), data=tmp_path_factory.mktemp("data"))
    with TestClient(create_app(settings, engine, two_endpoints())) as client:
        yield client


def post(client: Client, path: str = DEDICATED, **body: Any) -> Any:
    model = {} if path.startswith("/container") else {"model": "tiny"}
    return client.post(path, json={"prompt": "a cat", **model, **body})


@pytest.mark.parametrize("path", PATHS)
def test_control_images_and_their_weights_reach_the_job(
    client: Client, engine: TestEngine, path: str
) -> None:
    answer = post(
        client, path, controlnet_weights=[0.5, 1],
        control_images=[{"image": encoded(9)}, {"image": f"data:image/png;base64,{encoded(7)}"}],
    )
    assert answer.status_code == 200, answer.text
    first, second = engine.jobs[-1].controls
    assert [(one.route, one.scale) for one in (first, second)] == [("canny", 0.5), ("canny", 1.0)]
    assert (first.image.width, first.image.data[0], second.image.data[0]) == (8, 9, 7)
    assert not answer.json().get("warnings")


def test_an_entry_may_name_its_net_and_when_it_acts(client: Client, engine: TestEngine) -> None:
    entries = [
        {"image": encoded(1), "controlnet": "depth", "weight": 0.3, "start": 0.1, "end": 0.6,
         "mode": 3},
        encoded(2),
    ]
    names = ["canny", "canny"]
    answer = post(client, PATHS[2], model="resampled", control_images=entries, controlnets=names)
    assert answer.status_code == 200, answer.text
    controls = engine.jobs[-1].controls
    told = [(one.route, one.scale, one.start, one.end, one.mode) for one in controls]
    assert told == [("depth", 0.3, 0.1, 0.6, 3), ("canny", 1.0, 0.0, 1.0, None)]


def test_they_are_listed_with_their_endpoint(client: Client) -> None:
    listed = {one["id"]: one["controlnets"] for one in client.get("/v1/models").json()["data"]}
    assert listed["tiny"] == ["canny"]
    assert listed["resampled"] == ["canny", "depth"]
    assert listed["keyed"] == []


def test_without_them_a_job_has_none(client: Client, engine: TestEngine) -> None:
    assert post(client, control_images=[], controlnet_weights=None).status_code == 200
    assert engine.jobs[-1].controls == ()


FAULTS: dict[str, tuple[dict[str, Any], str | None, str]] = {
    "weights": ({"control_images": ["A"], "controlnet_weights": [1, 1]}, None,
                "controlnet_weights"),
    "range": ({"control_images": ["A"], "controlnet_weights": [3]}, "decimal_above_max_value",
              "controlnet_weights[0]"),
    "kind": ({"control_images": ["A"], "controlnet_weights": ["x"]}, "invalid_type",
             "controlnet_weights[0]"),
    "no pictures": ({"controlnet_weights": [1]}, None, "control_images"),
    "no net": ({"control_images": ["A"], "model": "keyed"}, "invalid_value", "controlnets[0]"),
    "which": ({"control_images": ["A"], "model": "resampled"}, "invalid_value", "controlnets[0]"),
    "other": ({"control_images": ["A"], "controlnets": ["blur"]}, "invalid_value",
              "controlnets[0]"),
    "no picture": ({"control_images": [{"image": "%%"}]}, "invalid_image", "control_images[0]"),
    "no mode": ({"control_images": [{"image": "A", "mode": 1.5}]}, "invalid_type",
                "control_images[0].mode"),
    "far mode": ({"control_images": [{"image": "A", "mode": 99}]}, "decimal_above_max_value",
                 "control_images[0].mode"),
    "many": ({"control_images": ["A"] * 9}, "array_above_max_length", "control_images"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_no_control_is_refused_by_its_name(client: Client, name: str) -> None:
    body, code, param = FAULTS[name]
    answer = post(client, PATHS[2], **body)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["param"] == param
    if code is not None:
        refused(answer, 400, error["code"], param)
        assert error["code"] == code


UNIT = {"image": "A", "model": "ip-adapter_sd15 [6a3f6166]"}
ASKED_OTHERWISE: dict[str, tuple[str, dict[str, Any]]] = {
    "friendli": (DEDICATED, {"model": "tiny", "prompt": "x", "ip_adapter_image": "A"}),
    "openai": (PATHS[2], {"model": "tiny", "prompt": "x", "ip_adapters": [{"path": "A"}]}),
    "huggingface": ("/models/tiny", {"inputs": "x", "parameters": {"ip_adapter_image": "A"}}),
    "automatic1111": ("/sdapi/v1/txt2img",
                      {"prompt": "x", "alwayson_scripts": {"controlnet": {"args": [UNIT]}}}),
    "comfyui": ("/prompt", {"prompt": {"1": {"class_type": "IPAdapterAdvanced", "inputs": {}}}}),
}  # fmt: skip


@pytest.mark.parametrize("dialect", ASKED_OTHERWISE)
def test_an_ip_adapter_asked_for_as_elsewhere_is_refused_by_name(
    client: Client, engine: TestEngine, dialect: str
) -> None:
    before = len(engine.jobs)
    path, body = ASKED_OTHERWISE[dialect]
    answer = client.post(path, json=body)
    assert 400 <= answer.status_code < 500, answer.text
    assert re.search("ip.?adapter", answer.text, re.IGNORECASE)
    assert len(engine.jobs) == before


def test_an_edit_takes_them_beside_its_picture(client: Client, engine: TestEngine) -> None:
    answer = client.post("/v1/images/edits", json={
        "prompt": "a cat", "model": "tiny", "image": encoded(3, 64),
        "control_images": [{"image": encoded(4)}],
    })
    assert answer.status_code == 200, answer.text
    job = engine.jobs[-1]
    assert (len(job.images), [one.route for one in job.controls]) == (1, ["canny"])
