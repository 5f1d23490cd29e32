"""SIGKILL at random moments loses no run and doubles no picture."""

import random
import time
from pathlib import Path
from typing import Any

import httpx

from tests.runs.postgres import free_port
from tests.runs.server import process

NUM_RUNS = 40
NUM_KILLS = 10
FINISH_SECONDS = 90


def batch(client: httpx.Client, batch_id: str) -> dict[str, Any]:
    found: dict[str, Any] = client.get(f"/api/batch/{batch_id}").raise_for_status().json()
    return found


def test_ten_kills_in_a_batch_of_forty(tmp_path: Path, database: str | None) -> None:
    data, port = tmp_path / "data", free_port()
    chance = random.Random(40)
    batch_id, unfinished = "", 0
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        for kill in range(NUM_KILLS):
            with process(port, data, database, step_seconds=0.15):
                if kill == 0:
                    body = {
                        "model_id": "tiny",
                        "inputs": {"prompt": "a cat", "seed": 1000},
                        "batch_number": NUM_RUNS,
                        "concurrency_limit": 4,
                    }
                    answer = client.post("/api/run/queue", json=body).raise_for_status().json()
                    assert len(answer["run_ids"]) == NUM_RUNS
                    batch_id = answer["batch_id"]
                time.sleep(chance.uniform(0.0, 1.2))
                unfinished += batch(client, batch_id)["counts"].get("success", 0) < NUM_RUNS
        assert unfinished >= NUM_KILLS // 2, "the batch was over before it could be killed"
        with process(port, data, database):
            found = finished(client, batch_id)
            check(client, found["runs"])


def finished(client: httpx.Client, batch_id: str) -> dict[str, Any]:
    deadline = time.monotonic() + FINISH_SECONDS
    while time.monotonic() < deadline:
        found = batch(client, batch_id)
        if found["counts"].get("success") == NUM_RUNS:
            return found
        time.sleep(0.2)
    raise AssertionError(f"the batch stands at {found['counts']}")


def check(client: httpx.Client, runs: list[dict[str, Any]]) -> None:
    """Every run has its one picture, drawn from its own seed."""
    seeds = []
    for run in runs:
        (output,) = run["outputs"]
        (image,) = output["data"]["images"]
        assert client.get(image["url"]).raise_for_status().content.startswith(b"\x89PNG")
        assert image["seed"] == run["workflow_inputs"]["seed"]
        seeds.append(image["seed"])
    assert seeds == list(range(1000, 1000 + NUM_RUNS))
