"""Streams of runs: legal names, the documented order, ends that say why."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.small_engine import TestEngine
from tests.web.comfydeploy.app import served
from tests.web.comfydeploy.test_router import MODEL, ended, tiny_graph


def frames(text: str) -> list[tuple[str, Any]]:
    """The events of a stream by name, and their data."""
    found = []
    for frame in text.strip().split("\n\n"):
        if not frame.startswith(":"):
            name, data = frame.split("\n")
            found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


@pytest.mark.parametrize("route", ["/api/run/stream", "/api/run/workflow/stream"])
def test_streams_use_the_legal_names_in_the_documented_order(tmp_path: Path, route: str) -> None:
    body = {"workflow_id": "any", "workflow_api_json": tiny_graph()}
    with served(tmp_path) as (client, _):
        answer = client.post(route, json=body)
        assert answer.headers["content-type"].startswith("text/event-stream")
        told = frames(answer.text)
        assert {name for name, _ in told} == {"event_update", "log_update"}
        inner = [data.get("event", "prompt") for name, data in told if name == "event_update"]
        assert inner[:7] == [
            "queuing", "function_call_id", "gpu_ready", "gpu_event_id", "comfyui_api_ready",
            "comfyui_ready", "prompt",
        ]  # fmt: skip
        assert inner[7:10] == ["execution_start", "execution_cached", "executing"]
        assert inner[10:-3] == ["progress", "live_status"] * 4
        assert inner[-3:] == ["executed", "output_ready", "status"]
        executed = next(data for _, data in told if data.get("event") == "executed")
        assert executed["data"]["node"] == "9"
        assert executed["data"]["output"]["images"][0]["url"].startswith("http://")
        assert told[-1][1]["data"]["status"] == "success"


def test_a_slow_stream_gets_pings_and_a_dropped_one_cancels_nothing(tmp_path: Path) -> None:
    body = {"model_id": "tiny", "inputs": {"prompt": "slow"}}
    with served(tmp_path, TestEngine()) as (client, _):
        with client.stream("POST", "/api/run/stream", json=body) as answer:
            lines = answer.iter_lines()
            first = next(line for line in lines if line.startswith("data: "))
            run_id = json.loads(first.removeprefix("data: "))["logs"].split()[1]
        assert ended(client, run_id)["status"] == "success"


def test_a_stream_url_tells_of_a_run_that_has_ended(tmp_path: Path) -> None:
    with served(tmp_path) as (client, _):
        answer = client.post("/api/run", json=MODEL | {"stream": True}).json()
        ended(client, answer["run_id"])
        told = frames(client.get(answer["stream_url"]).text)
        inner = [data.get("event") for _, data in told]
        assert inner[-3:] == ["executed", "output_ready", "status"]


def test_a_failing_stream_says_why(tmp_path: Path) -> None:
    body = {"model_id": "tiny", "inputs": {"prompt": "fail"}}
    with served(tmp_path) as (client, _):
        told = frames(client.post("/api/run/stream", json=body).text)
        errors = [data for _, data in told if data.get("event") == "execution_error"]
        assert errors[0]["data"]["exception_message"] == "The pipeline raised."
        logs = [data["logs"] for name, data in told if name == "log_update"]
        assert "The pipeline raised." in logs
        assert told[-1][1]["data"]["status"] == "failed"
