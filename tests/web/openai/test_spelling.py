"""The spellings that clients have for a request that means the same, in JSON and forms."""

from typing import Any

import pytest

from tests.images.test_decode import RED, saved
from tests.small_engine import TestEngine
from tests.web.openai.asking import Client, post, refused

FIELDS = (
    "quality", "background", "output_format", "response_format", "seed", "n", "stream", "size",
    "num_inference_steps", "guidance_scale", "output_compression", "strength", "timeout", "style",
    "model", "user", "scheduler", "loras", "negative_prompt", "partial_images", "width",
)  # fmt: skip
PICTURE = {"image": ("a.png", saved(RED.resize((64, 64)), "PNG"))}


@pytest.mark.parametrize("nothing", ["", " ", "null", "undefined"])
def test_an_empty_value_is_an_absent_one(client: Client, nothing: str) -> None:
    for field in FIELDS:
        answer = post(client, **{field: nothing})
        assert answer.status_code == 200, (field, answer.text)
        form = {"prompt": "a", field: nothing}
        answer = client.post("/v1/images/edits", data=form, files=PICTURE)
        assert answer.status_code == 200, (field, answer.text)


@pytest.mark.parametrize(
    "body",
    [
        {"output_format": "PNG"},
        {"output_format": " jpg "},
        {"output_format": "image/webp"},
        {"response_format": "base64"},
        {"response_format": "URL"},
        {"quality": "1k"},
        {"quality": "HD"},
        {"style": 5},
        {"user": 123},
        {"moderation": {"a": 1}},
        {"size": {"width": "128", "height": "128"}},
        {"size": [128.0, 128.0]},
        {"size": ["128", "128"]},
        {"size": "128 X 128"},
        {"size": "128×128"},
        {"size": " AUTO "},
        {"size": "128x128", "width": 128, "height": "128.0"},
        {"size": "auto", "width": 128, "height": 128},
        {"steps": "4", "num_inference_steps": 4},
        {"cfg": 1, "guidance_scale": "1.0"},
        {"seed": 7.0, "stream": "no", "background": "AUTO"},
        {"scheduler": " eulerdiscretescheduler "},
        {"loras": [{"name": "style", "scale": " 1 "}], "lora": {"path": "style", "weight": 1}},
    ],
)
def test_spellings_of_what_is_meant(client: Client, body: dict[str, Any]) -> None:
    answer = post(client, **body)
    assert answer.status_code == 200, answer.text


def test_they_mean_what_they_say(client: Client, engine: TestEngine) -> None:
    (item,) = post(client, response_format="base64", output_format="PNG").json()["data"]
    assert (item["response_format"], "url" in item) == ("png", False)
    post(client, size="128×96", seed=" 5 ", steps="3.0")
    job = engine.jobs[-1]
    assert (job.width, job.height, job.seeds, job.num_inference_steps) == (128, 96, (5,), 3)
    assert post(client, quality="HD").json()["quality"] == "high"
    assert post(client, quality="Low").json()["quality"] == "high"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"size": "64x64", "width": 128, "height": 128}, "width"),
        ({"size": "64x64", "image_size": {"width": 64, "height": 96}}, "image_size"),
        ({"steps": "4", "num_inference_steps": 5}, "steps"),
        ({"width": 128}, "height"),
        ({"size": "٦٤x٦٤"}, "size"),
        ({"n": "١"}, "n"),
        ({"seed": "1_0"}, "seed"),
        ({"guidance_scale": "nan"}, "guidance_scale"),
        ({"timeout": "inf"}, "timeout"),
        ({"num_inference_steps": "9" * 5000}, "num_inference_steps"),
    ],
)
def test_what_contradicts_itself_or_means_nothing(
    client: Client, body: dict[str, Any], param: str
) -> None:
    answer = post(client, **body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param


def test_a_time_without_end_is_taken(client: Client) -> None:
    assert post(client, timeout=1e308).status_code == 200
    headers = {"X-Request-Timeout": " 1e300 "}
    body = {"prompt": "a"}
    path = "/v1/images/generations"
    assert client.post(path, json=body, headers=headers).status_code == 200
    headers["X-Request-Timeout"] = "1_0"
    refused(
        client.post(path, json=body, headers=headers), 400, "invalid_value", "X-Request-Timeout"
    )


def test_the_gateways_own_urls_are_inputs_whatever_host_they_carry(client: Client) -> None:
    url = post(client, response_format="url").json()["data"][0]["url"]
    path = url.partition("/files/")[2]
    for address in (url, f"https://far.example/gw/files/{path}", f"/files/{path}"):
        body = {"prompt": "a", "images": [{"image_url": {"url": address}}], "strength": 0.5}
        answer = client.post("/v1/images/edits", json=body)
        assert answer.status_code == 200, answer.text
        form = {"prompt": (None, "a"), "image": (None, address)}
        answer = client.post("/v1/images/edits", files=form)
        assert answer.status_code == 200, answer.text
        run = {"model_id": "tiny", "inputs": {"prompt": "a", "image": {"url": address}}}
        answer = client.post("/api/run/sync", json=run)
        assert answer.status_code == 200, answer.text
    forged = f"https://far.example/files/{path[:-1]}"
    body = {"prompt": "a", "images": [{"image_url": forged}], "strength": 0.5}
    assert client.post("/v1/images/edits", json=body).json()["error"]["code"] == "invalid_url"


def test_outputs_of_runs_are_inputs_too(client: Client) -> None:
    run = {"model_id": "tiny", "inputs": {"prompt": "a"}}
    (made,) = client.post("/api/run/sync", json=run).json()
    url = made["data"]["images"][0]["url"].replace("://testserver.local", "://far.example/x")
    body = {"prompt": "a", "image": {"url": url}}
    assert client.post("/v1/images/edits", json=body).status_code == 200


def test_a_run_whose_input_is_at_fault_is_its_clients(client: Client) -> None:
    for source in ("img_nowhere", "http://127.0.0.1:9/a.png"):
        run = {"model_id": "tiny", "inputs": {"prompt": "a", "image": source}}
        for path in ("/api/run/sync", "/api/run"):
            answer = client.post(path, json=run | {"execution_mode": "sync_first_result"})
            assert answer.status_code == 400, answer.text
            assert "ended as failed" in answer.json()["detail"]


def test_what_is_wanted_is_told_behind_whatever_was_sent(client: Client) -> None:
    answer = post(client, scheduler="DPM++ 2M Karras" * 500)
    assert "'EulerDiscreteScheduler'" in refused(answer, 400, "invalid_value", "scheduler")
