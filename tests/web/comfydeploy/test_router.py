"""The ComfyDeploy API over HTTP: bodies of every generation, modes, errors, owners."""

import json
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.images.decode import decode
from tests.runs.graph import examples
from tests.web.comfydeploy.app import Client, served

NON_NULL = {
    "id", "workflow_id", "origin", "status", "created_at", "updated_at", "progress", "number",
    "is_realtime", "webhook_intermediate_status", "favorite", "workflow_inputs", "workflow_api",
    "run_log", "outputs",
}  # fmt: skip
PRESENT = NON_NULL | {
    "workflow_version_id", "machine_id", "ended_at", "queued_at", "started_at", "gpu_event_id",
    "gpu", "machine_version", "machine_type", "modal_function_call_id", "user_id", "org_id",
    "live_status", "webhook", "webhook_status", "batch_id", "duration", "cold_start_duration",
    "cold_start_duration_total", "run_duration",
}  # fmt: skip
MODEL = {"model_id": "tiny", "inputs": {"prompt": "a cat", "seed": 42}}


def ended(client: Client, run_id: str) -> dict[str, Any]:
    """A run once it has ended."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        run: dict[str, Any] = client.get(f"/api/run/{run_id}").json()
        if run["status"] in ("success", "failed", "timeout", "cancelled"):
            return run
        time.sleep(0.02)
    raise AssertionError("the run did not end")


def tiny_graph(**sampler: Any) -> examples.Graph:
    graph = examples.text_to_image(**({"steps": 4, "cfg": 1} | sampler))
    graph["4"]["inputs"]["ckpt_name"] = "tiny.safetensors"
    graph["5"]["inputs"] |= {"width": 64, "height": 64}
    return graph


def deployed_graph() -> examples.Graph:
    graph = examples.deployed()
    graph["3"]["inputs"]["cfg"] = 1
    graph["5"]["inputs"] |= {"width": 64, "height": 64}
    graph["33"]["inputs"]["default_value"] = "tiny"
    return graph


def test_a_run_object_has_what_every_sdk_wants(tmp_path: Path) -> None:
    with served(tmp_path) as (client, _):
        answer = client.post("/api/run/queue", json=MODEL)
        assert (answer.status_code, set(answer.json())) == (200, {"run_id"})
        run = ended(client, answer.json()["run_id"])
        assert set(run) >= PRESENT
        assert all(run[name] is not None for name in NON_NULL)
        assert run["status"] == "success"
        assert run["created_at"].endswith("Z")
        assert run == client.get("/api/run", params={"run_id": run["id"]}).json()
        ((image,),) = [output["data"]["images"] for output in run["outputs"]]
        assert decode(client.get(image["url"]).content, "picture").getpixel((0, 0)) == (42, 0, 0)


@pytest.mark.parametrize("route", ["/api/run", "/api/run/queue", "/api/run/sync"])
def test_inputs_of_old_sdks_are_floats(tmp_path: Path, route: str) -> None:
    body = {
        "deployment_id": "tiny:style",
        "inputs": {"prompt": "a cat", "seed": 42.0, "num_inference_steps": 2.0},
        "batch_number": 1.0,
        "timeout": 60.0,
    }
    with served(tmp_path) as (client, engine):
        assert client.post(route, json=body).status_code == 200
        deadline = time.monotonic() + 5
        while not engine.jobs and time.monotonic() < deadline:
            time.sleep(0.01)
        (job,) = engine.jobs
        assert (job.seeds, job.num_inference_steps) == ((42,), 2)
        assert [use.route for use in job.adapters] == ["style"]


def test_sync_answers_the_outputs_and_the_first_picture(tmp_path: Path) -> None:
    with served(tmp_path) as (client, _):
        (output,) = client.post("/api/run/sync", json=MODEL).json()
        assert set(output) >= {"id", "run_id", "data", "node_meta", "created_at", "updated_at"}
        body = MODEL | {"execution_mode": "sync"}
        assert client.post("/api/run", json=body).json()[0]["data"]["images"]
        first = client.post("/api/run", json=MODEL | {"executionMode": "sync_first_result"})
        assert first.headers["content-type"] == "image/png"
        assert decode(first.content, "picture").size == (64, 64)
        batch = MODEL | {"execution_mode": "sync_first_result", "batch_number": 2}
        assert client.post("/api/run", json=batch).status_code == 400


def test_a_failed_run_fails_its_sync(tmp_path: Path) -> None:
    with served(tmp_path) as (client, _):
        body = {"model_id": "tiny", "inputs": {"prompt": "fail"}}
        answer = client.post("/api/run/sync", json=body)
        assert answer.status_code == 500
        assert "The pipeline raised." in answer.json()["detail"]


def test_sync_answers_the_newest_output_first(tmp_path: Path) -> None:
    graph = tiny_graph()
    graph["10"] = examples.node("SaveImage", images=["8", 0], filename_prefix="second")
    with served(tmp_path) as (client, _):
        made = client.post("/api/run/sync", json={"workflow_api": graph}).json()
        assert [output["node_meta"]["node_id"] for output in made] == ["10", "9"]


def test_batches_are_products_over_the_inputs(tmp_path: Path) -> None:
    body = {
        "model_id": "tiny",
        "inputs": {"prompt": "a cat", "seed": 5, "num_inference_steps": 1},
        "batch_input_params": {"prompt": ["a", "b"], "seed": [1, 2, 3]},
        "batch_number": 7,
    }
    with served(tmp_path) as (client, _):
        answer = client.post("/api/run", json=body).json()
        assert answer["status"] == "success"
        assert answer["run_id"] == answer["run_ids"][0]
        for run_id in answer["run_ids"]:
            ended(client, run_id)
        batch = client.get(f"/api/batch/{answer['batch_id']}").json()
        assert (batch["total"], batch["counts"]) == (6, {"success": 6})
        inputs = [
            (run["workflow_inputs"]["prompt"], run["workflow_inputs"]["seed"])
            for run in batch["runs"]
        ]
        assert inputs == [("a", 1), ("a", 2), ("a", 3), ("b", 1), ("b", 2), ("b", 3)]
        assert {run["batch_id"] for run in batch["runs"]} == {answer["batch_id"]}


def test_repetitions_have_a_seed_each(tmp_path: Path) -> None:
    with served(tmp_path) as (client, engine):
        outputs = client.post("/api/run/sync", json=MODEL | {"batch_number": 3}).json()
        assert len(outputs) == 3
        assert {job.seeds for job in engine.jobs} == {(42,), (43,), (44,)}


@pytest.mark.parametrize(
    ("body", "count"),
    [
        ({"batch_number": 1001}, "1001"),
        ({"batch_input_params": {"a": [1] * 100, "b": [1] * 100}}, "10000"),
        ({"batch_input_params": {"a": [1], "b": []}}, "no values"),
        ({"batch_number": 0}, "batch_number"),
    ],
)
def test_a_batch_beyond_the_ceiling_names_its_count(
    tmp_path: Path, body: dict[str, Any], count: str
) -> None:
    with served(tmp_path) as (client, engine):
        answer = client.post("/api/run", json=MODEL | body)
        assert answer.status_code == 400
        assert count in answer.json()["detail"]
        assert engine.jobs == []


@pytest.mark.parametrize("field", ["workflow_api", "workflow_api_json"])
@pytest.mark.parametrize("as_text", [True, False])
def test_graphs_come_as_objects_and_as_text(tmp_path: Path, field: str, as_text: bool) -> None:
    graph = tiny_graph(seed=77)
    body = {field: json.dumps(graph) if as_text else graph}
    with served(tmp_path) as (client, engine):
        assert client.post("/api/run/sync", json=body).status_code == 200
        assert engine.jobs[0].seeds == (77,)


def test_inputs_win_over_their_text(tmp_path: Path) -> None:
    body = {
        "workflow_api": deployed_graph(),
        "inputs": {"prompt": "from the object"},
        "inputs_json": json.dumps({"prompt": "from the text", "seed": 9}),
    }
    with served(tmp_path) as (client, engine):
        run = ended(client, client.post("/api/run", json=body).json()["run_id"])
        assert run["status"] == "success"
        assert engine.jobs[0].prompt == "from the object"
        assert engine.jobs[0].seeds == (9,)
        assert run["workflow_api"]["31"]["inputs"]["default_value"] == 9
        (output,) = run["outputs"]
        assert output["output_id"] == "result"
        assert output["data"]["images"][0]["filename"] == "out_00001_.webp"


def test_a_refused_graph_reports_as_comfyui_does(tmp_path: Path) -> None:
    with served(tmp_path) as (client, engine):
        answer = client.post("/api/run", json={"workflow_api": tiny_graph(steps=99)})
        body = answer.json()
        assert answer.status_code == 400
        assert isinstance(body["detail"], str)
        assert body["error"]["type"] == "prompt_outputs_failed_validation"
        assert body["node_errors"]["3"]["errors"][0]["type"] == "value_bigger_than_max"
        assert engine.jobs == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"model_id": "unknown"}, 404),
        ({"deployment_id": "unknown"}, 404),
        ({"workflow_id": "unknown", "workflow_api_json": {}}, 404),
        ({"workflow_version_id": "unknown"}, 404),
        ({"model_id": "tiny"}, 400),
        ({"model_id": "tiny", "inputs": {"prompt": "a", "num_inference_steps": 99}}, 400),
        ({"model_id": "tiny", "inputs": {"prompt": "a", "size": "9x9"}}, 400),
        ({"model_id": 5, "inputs": 7}, 400),
        ({"workflow_api": "{broken"}, 400),
        (MODEL | {"webhook": "http://127.0.0.1/"}, 400),
        (MODEL | {"webhook": "ftp://hooks.example/"}, 400),
        (MODEL | {"timeout": -1}, 400),
        (MODEL | {"concurrency_limit": 0}, 400),
        (MODEL | {"origin": "elsewhere"}, 400),
        (MODEL | {"private_volume_name": "attic"}, 400),
        ([1], 400),
    ],
)
def test_refusals_are_sentences_that_sdks_parse(tmp_path: Path, body: Any, status: int) -> None:
    with served(tmp_path) as (client, engine):
        answer = client.post("/api/run/queue", json=body)
        assert answer.status_code == status, answer.text
        assert isinstance(answer.json()["detail"], str)
        assert engine.jobs == []


def test_what_is_asked_for_is_told_again(tmp_path: Path) -> None:
    body = MODEL | {
        "gpu": "A100",
        "machine_id": "m1",
        "gpu_event_id": "g1",
        "run_origin": "public-share",
        "is_native_run": True,
        "webhook_intermediate_status": False,
        "flags": ["runpod_v2"],
    }
    with served(tmp_path) as (client, _):
        run = ended(client, client.post("/api/run", json=body).json()["run_id"])
        kept = {name: run[name] for name in ("gpu", "machine_id", "gpu_event_id", "origin")}
        assert kept == {
            "gpu": "A100", "machine_id": "m1", "gpu_event_id": "g1", "origin": "public-share",
        }  # fmt: skip
        assert run["is_native_run"] is True
        assert run["model_id"] == "tiny"


def test_pools_are_strict_once_there_are_some(tmp_path: Path) -> None:
    with served(tmp_path, pools={"A100": "tiny", "T4": "other"}) as (client, _):
        assert client.post("/api/run/sync", json=MODEL | {"gpu": "a100"}).status_code == 200
        answer = client.post("/api/run/queue", json=MODEL | {"gpu": "T4"})
        assert answer.status_code == 400
        assert "A100: tiny; T4: other" in answer.json()["detail"]
        machines = client.get("/api/v1/machines").json()
        assert [machine["id"] for machine in machines["machines"]] == ["A100", "T4"]


def test_cancelling(tmp_path: Path) -> None:
    body = {"model_id": "tiny", "inputs": {"prompt": "slow"}}
    with served(tmp_path) as (client, engine):
        run_id = client.post("/api/run/queue", json=body).json()["run_id"]
        assert client.post(f"/api/run/{run_id}/cancel").json()["status"] == "success"
        assert ended(client, run_id)["status"] == "cancelled"
        again = client.post(f"/api/run/{run_id}/cancel", json={"function_id": "x"})
        assert again.status_code == 200
        assert client.post("/api/run/unknown/cancel").status_code == 404
        assert engine.num_running == 0 or engine.num_closed <= 1


def test_owners_see_their_own_runs(tmp_path: Path) -> None:
    bob = {"Authorization": "Bearer bob"}
    with served(tmp_path) as (client, _):
        answer = client.post("/api/run", json=MODEL | {"batch_number": 2}).json()
        run_id, batch_id = answer["run_id"], answer["batch_id"]
        for path in (f"run/{run_id}", f"run?run_id={run_id}", f"batch/{batch_id}"):
            assert client.get(f"/api/{path}").status_code == 200
            assert client.get(f"/api/{path}", headers=bob).status_code == 404
        assert client.post(f"/api/run/{run_id}/cancel", headers=bob).status_code == 404
        assert client.get("/api/models", headers={"Authorization": ""}).status_code == 401


def test_queue_positions_are_told_on_request(tmp_path: Path) -> None:
    body = {"model_id": "tiny", "inputs": {"prompt": "slow"}, "batch_number": 3}
    with served(tmp_path, max_batch=1) as (client, _):
        run_ids = client.post("/api/run/queue", json=body).json()["run_ids"]
        last = client.get(f"/api/run/{run_ids[2]}", params={"queue_position": "true"}).json()
        assert (last["status"], last["queue_position"]) == ("queued", 2)
        assert client.get(f"/api/run/{run_ids[2]}").json()["queue_position"] is None
        for run_id in run_ids:
            client.post(f"/api/run/{run_id}/cancel")


def test_get_requests_may_say_any_content_type(tmp_path: Path) -> None:
    headers = {"Content-Type": "application/octet-stream"}
    with served(tmp_path) as (client, _):
        assert client.get("/api/models", headers=headers).status_code == 200
        assert client.post("/api/run", headers=headers).status_code == 400
        decoded = msgspec.json.decode(client.get("/api/deployments").content)
        assert [item["id"] for item in decoded] == ["tiny", "tiny:style", "slow", "editor"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/nothing", 404),
        ("GET", "/api/run/one/two/three", 404),
        ("POST", "/api/models/one/two", 404),
        ("GET", "/api/v1/workflows/one/two/three", 404),
        ("DELETE", "/api/models", 405),
        ("GET", "/api/run/queue", 405),
        ("PUT", "/api/run/one/cancel", 405),
        ("GET", "/api/run/one/cancel", 405),
    ],
)
def test_what_no_route_takes_is_told_in_the_dialects_own_words(
    tmp_path: Path, method: str, path: str, status: int
) -> None:
    with served(tmp_path) as (client, _):
        answer = client.request(method, path)
        assert answer.status_code == status
        body = answer.json()
        assert isinstance(body["detail"], str)
        assert body["detail"] == body["message"]
        assert isinstance(body["code"], str)
        if status == 405:
            assert answer.headers["allow"]
            assert method not in answer.headers["allow"].split(", ")


def test_a_fault_of_ours_keeps_its_cause_to_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_graph: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr("gateway.web.comfydeploy.runs.run_body", broken)
    with served(tmp_path) as (client, _):
        answer = client.post("/api/run/queue", json=MODEL)
        assert answer.status_code == 500
        assert answer.json()["detail"] == answer.json()["message"]
        assert "secret" not in answer.text


def test_transparent_backgrounds_where_the_card_says_how(tmp_path: Path) -> None:
    inputs = {"prompt": "a cat", "background": "transparent"}
    with served(tmp_path) as (client, _):
        body = {"model_id": "editor", "inputs": inputs, "execution_mode": "sync_first_result"}
        picture = decode(client.post("/api/run", json=body).content, "picture")
        assert picture.mode == "RGBA"
        assert picture.getchannel("A").getextrema() == (0, 0)
        jpeg = body | {"inputs": inputs | {"output_format": "jpeg"}}
        assert "transparency" in client.post("/api/run", json=jpeg).json()["detail"]
        opaque = {"model_id": "tiny", "inputs": inputs}
        run = ended(client, client.post("/api/run", json=opaque).json()["run_id"])
        assert run["run_log"]["notes"] == ["background: the model tiny draws opaque pictures only"]
        models = {model["id"]: model["inputs"] for model in client.get("/api/models").json()}
        named = {id: {each["input_id"] for each in found} for id, found in models.items()}
        assert "background" in named["editor"] - named["tiny"]
        assert "output_format" in named["tiny"]
