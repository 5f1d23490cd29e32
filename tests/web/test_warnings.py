"""What was not done as asked is told in every dialect, by the bundled model itself."""

import base64
import io
import json
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient
from PIL import Image

from gateway.app import create_app
from gateway.settings import Settings

Client = TestClient[Litestar]
LONG = "a red apple" + " on a wooden table" * 5 + " with a blue whale"
ASKED = {"prompt": LONG, "negative_prompt": "blurry", "seed": 1, "num_inference_steps": 1}
TOLD = {"prompt_cut", "negative_prompt_unused"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def client(data: Path) -> Iterator[Client]:
    settings = Settings(endpoints=("emoji",), data=data, threads=1)
    with TestClient(create_app(settings)) as client:
        yield client


def warnings(client: Client, **more: Any) -> dict[tuple[str, str | None], str]:
    """Messages of a generation's warnings by code and param."""
    body = {"prompt": "a", "num_inference_steps": 1, "seed": 1} | more
    answer = client.post("/v1/images/generations", json=body)
    assert answer.status_code == 200, answer.text
    return {(one["code"], one["param"]): one["message"] for one in answer.json()["warnings"]}


def told(warnings: list[dict[str, Any]]) -> set[str]:
    assert all(one.keys() == {"code", "param", "message"} for one in warnings)
    return {one["code"] for one in warnings}


def apple() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (128, 128), "red").save(file, "PNG")
    return file.getvalue()


def test_nothing_is_told_where_everything_was_done(client: Client) -> None:
    assert warnings(client, size="128x128", quality="auto", user="me", style="") == {}
    answer = client.post("/v1/images/generations", json={"prompt": "a red apple", "steps": 1})
    assert "x-warnings" not in answer.headers
    assert "warnings" not in answer.json()["data"][0]["receipt"]


def test_json_receipt_header_and_metrics(client: Client) -> None:
    before = client.get("/metrics").text
    answer = client.post("/v1/images/generations", json=ASKED | {"quality": "low"})
    body = answer.json()
    assert told(body["warnings"]) == {*TOLD, "no_effect"}
    assert told(body["data"][0]["receipt"]["warnings"]) == TOLD
    assert set(answer.headers["x-warnings"].split(", ")) == {*TOLD, "no_effect"}
    assert body["quality"] == "high"
    cut = next(one for one in body["warnings"] if one["code"] == "prompt_cut")
    assert (cut["param"], "whale" in cut["message"]) == ("prompt", True)
    name = 'gateway_warnings_total{code="prompt_cut"}'
    assert count(client.get("/metrics").text, name) == count(before, name) + 1


def count(text: str, name: str) -> float:
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))


def test_a_pictures_bytes_carry_a_header(client: Client) -> None:
    headers = {"accept": "image/png"}
    answer = client.post("/v1/images/generations", json=ASKED, headers=headers)
    assert set(answer.headers["x-warnings"].split(", ")) == TOLD
    assert "prompt_cut" in Image.open(io.BytesIO(answer.content)).info["gateway"]


def test_a_streams_completed_event(client: Client) -> None:
    answer = client.post("/v1/images/generations", json=ASKED | {"stream": True})
    [data] = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]
    assert told(json.loads(data)["warnings"]) == TOLD


@pytest.mark.parametrize("route", ["edits", "variations"])
def test_edits_and_variations(client: Client, route: str) -> None:
    form = {name: str(value) for name, value in ASKED.items()}
    answer = client.post(
        f"/v1/images/{route}",
        data=form | {"strenght": "0.9"},
        files={"image": ("a.png", apple(), "image/png")},
    )
    assert told(answer.json()["warnings"]) >= {*TOLD, "unknown_field"}
    assert "strength" in answer.text


@pytest.mark.parametrize(
    "path", ["/dedicated/v1/images/generations", "/container/v1/images/generations"]
)
def test_friendli(client: Client, path: str) -> None:
    answer = client.post(path, json=ASKED | {"model": "emoji", "num_inference_steps": 20})
    assert told(answer.json()["warnings"]) == {*TOLD, "steps_lowered"}
    assert answer.headers["x-num-inference-steps"] == "10"


def test_friendli_edits(client: Client) -> None:
    image = {"image": base64.b64encode(apple()).decode()}
    body = ASKED | {"model": "emoji", "image": image}
    answer = client.post("/dedicated/v1/images/edits", json=body)
    assert told(answer.json()["warnings"]) == TOLD


def run_of(client: Client, **body: Any) -> Any:
    run_id = client.post("/api/run", json=body).json()["run_id"]
    for _ in range(600):
        run = client.get(f"/api/run/{run_id}").json()
        if run["status"] in ("success", "failed"):
            return run
        time.sleep(0.02)
    raise AssertionError("it never ended")


def test_a_models_run(client: Client) -> None:
    run = run_of(client, model_id="emoji", inputs=ASKED | {"styel": "x"}, webhok="http://a.example")
    assert told(run["run_log"]["warnings"]) == {*TOLD, "unknown_field"}
    unknown = [one for one in run["run_log"]["warnings"] if one["code"] == "unknown_field"]
    assert {one["param"] for one in unknown} == {"styel", "webhok"}
    assert "'webhook'?" in unknown[0]["message"]
    assert run["run_log"]["notes"] == [one["message"] for one in run["run_log"]["warnings"]]


def test_a_picture_that_is_drawn_over_at_another_size(client: Client) -> None:
    file = io.BytesIO()
    Image.new("RGB", (3000, 300), "red").save(file, "PNG")
    inputs = {"prompt": "a", "seed": 1, "num_inference_steps": 1}
    inputs["image"] = base64.b64encode(file.getvalue()).decode()
    edit = client.post("/v1/images/edits", json=inputs).json()["warnings"]
    [output] = client.post("/api/run/sync", json={"model_id": "emoji", "inputs": inputs}).json()
    assert edit == output["warnings"]
    [warning] = edit
    assert (warning["code"], warning["param"]) == ("size_changed", "image")
    assert warning["message"] == "3000x300 was drawn at 184x88, and resampled to 2048x205."


@pytest.mark.parametrize("path", ["/api/run/sync", "/api/run"])
def test_a_run_that_is_waited_for(client: Client, path: str) -> None:
    body = {"model_id": "emoji", "inputs": ASKED, "execution_mode": "sync"}
    answer = client.post(path, json=body)
    [output] = answer.json()
    assert told(output["warnings"]) == TOLD
    assert set(answer.headers["x-warnings"].split(", ")) == TOLD


def test_a_runs_first_picture(client: Client) -> None:
    body = {"model_id": "emoji", "inputs": ASKED, "execution_mode": "sync_first_result"}
    answer = client.post("/api/run", json=body)
    assert answer.headers["content-type"] == "image/png"
    assert set(answer.headers["x-warnings"].split(", ")) == TOLD


def test_a_graphs_run_and_its_stream(client: Client) -> None:
    graph = {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "emoji"}},
        "2": text("(a red apple:1.3)" + LONG),
        "8": {"class_type": "ComfyUIDeployExternalText", "inputs": {"input_id": "input_text"}},
        "3": text("blurry"),
        "4": {
            "class_type": "EmptyLatentImage",
            "inputs": {"width": 96, "height": 96, "batch_size": 1},
        },
        "5": {
            "class_type": "KSampler",
            "inputs": {
                "model": ["1", 0], "positive": ["2", 0], "negative": ["3", 0],
                "latent_image": ["4", 0], "seed": 1, "steps": 1, "cfg": 1.0,
                "sampler_name": "res_multistep", "scheduler": "simple", "denoise": 1.0,
            },
        },
        "6": {"class_type": "VAEDecode", "inputs": {"samples": ["5", 0], "vae": ["1", 2]}},
        "7": {
            "class_type": "SaveImage", "inputs": {"images": ["6", 0], "filename_prefix": "a"},
        },
    }  # fmt: skip
    run = run_of(client, workflow_api=graph, inputs={"input_txt": "a cat", "seed": ""})
    assert run["status"] == "success", run
    wanted = {*TOLD, "syntax_unread", "scheduler_replaced", "unknown_field", "size_changed"}
    [unknown] = [one for one in run["run_log"]["warnings"] if one["code"] == "unknown_field"]
    assert "'input_text'?" in unknown["message"]
    assert told(run["run_log"]["warnings"]) == wanted
    stream = client.get(f"/api/run/{run['id']}/stream").text
    [end] = [line for line in stream.splitlines() if '"event":"status"' in line]
    assert told(json.loads(end.removeprefix("data: "))["data"]["warnings"]) == wanted


def text(words: str) -> dict[str, Any]:
    return {"class_type": "CLIPTextEncode", "inputs": {"text": words, "clip": ["1", 1]}}


def test_a_line_of_a_batch(client: Client) -> None:
    line = {"custom_id": "1", "method": "POST", "url": "/v1/images/generations", "body": ASKED}
    file = client.post(
        "/v1/files",
        data={"purpose": "batch"},
        files={"file": ("a.jsonl", json.dumps(line).encode())},
    ).json()["id"]
    body = {
        "input_file_id": file,
        "endpoint": "/v1/images/generations",
        "completion_window": "24h",
    }
    batch = client.post("/v1/batches", json=body).json()
    for _ in range(600):
        batch = client.get(f"/v1/batches/{batch['id']}").json()
        if batch["output_file_id"]:
            break
        time.sleep(0.02)
    answer = client.get(f"/v1/files/{batch['output_file_id']}/content").json()
    assert told(answer["response"]["body"]["warnings"]) == TOLD


@pytest.mark.parametrize(
    ("given", "code", "param", "says"),
    [
        ({"quality": "low"}, "no_effect", "quality", "one quality"),
        ({"complexity": "high"}, "no_effect", "complexity", "one quality"),
        ({"style": "vivid"}, "no_effect", "style", "adapters"),
        ({"moderation": "low"}, "no_effect", "moderation", "nothing is moderated"),
        ({"clip_skip": 2}, "no_effect", "clip_skip", "layers"),
        ({"partial_images": 2}, "no_effect", "partial_images", "not streamed"),
        ({"output_compression": 50}, "no_effect", "output_compression", "png"),
        ({"true_cfg_scale": 4}, "no_effect", "true_cfg_scale", "StableDiffusionPipeline"),
        ({"strength": 0.5}, "unknown_field", "strength", "not known"),
        ({"negativ_prompt": "x"}, "unknown_field", "negativ_prompt", "'negative_prompt'?"),
        ({"numInferenceSteps": 2}, "unknown_field", "numInferenceSteps", "'num_inference_steps'?"),
        ({"prompt_2": "x"}, "unknown_field", "prompt_2", "'prompt'?"),
        ({"zzz": 1}, "unknown_field", "zzz", "'zzz' is not known here."),
        ({"size": "64x64"}, "size_changed", "size", "64x64 was drawn at 128x128"),
        ({"scheduler": "res_multistep"}, "scheduler_replaced", "scheduler", "stands in"),
        ({"prompt": "a (red:1.3) cat"}, "syntax_unread", "prompt", "(red:1.3)"),
        ({"prompt": "a <lora:ink:1> cat"}, "syntax_unread", "prompt", "<lora:ink:1>"),
        ({"prompt": "embedding:easy cat"}, "syntax_unread", "prompt", "embedding:easy"),
        ({"prompt": "\ua66e \u043a\u043e\u0442"}, "words_unknown", "prompt", "\u043a\u043e\u0442"),
    ],
    ids=str,
)
def test_each_kind(client: Client, given: dict[str, Any], code: str, param: str, says: str) -> None:
    found = warnings(client, **given)
    assert says in found[code, param]
    assert len(found) == 1


def test_a_negative_prompt_is_used_where_guidance_is_on(client: Client) -> None:
    assert warnings(client, negative_prompt="blurry", guidance_scale=5) == {}
    assert warnings(client, negative_prompt="blurry", guidance_scale=1).keys() == {
        ("negative_prompt_unused", "negative_prompt")
    }


def test_many_unknown_fields_are_few_warnings(client: Client) -> None:
    found = client.post(
        "/v1/images/generations",
        json={"prompt": "a", "steps": 1} | {f"{number}" * 200: 1 for number in range(900)},
    )
    assert len(found.json()["warnings"]) < 20
    assert len(found.content) < 200_000


def test_models_say_their_limits(client: Client) -> None:
    card = client.get("/v1/models/emoji").json()
    assert card["max_tokens"] == {"tokenizer": 20}
    assert {"true_cfg_scale", "quality", "style", "moderation"} <= set(card["ignores"])
    assert {"negative_prompt", "guidance_scale"} & set(card["ignores"]) == set()


def test_what_an_older_gateway_noted_is_read(client: Client, data: Path) -> None:
    run = run_of(client, model_id="emoji", inputs=ASKED)
    with sqlite3.connect(data / "runs.sqlite") as database:
        database.execute(
            "UPDATE gateway_runs SET notes = ? WHERE id = ?", ('["it was read freely"]', run["id"])
        )
    log = client.get(f"/api/run/{run['id']}").json()["run_log"]
    assert log["notes"] == ["it was read freely"]
    assert told(log["warnings"]) == {"read_freely"}
