"""A batch outlives its process: killed at any moment, no line is lost and none doubled."""

import random
import time
from pathlib import Path
from typing import Any

import httpx
import msgspec

from tests.runs.postgres import free_port
from tests.runs.server import process

NUM_LINES = 40
NUM_KILLS = 6
FINISH_SECONDS = 60
URL = "/v1/images/generations"


def lines() -> bytes:
    bodies = ({"model": "tiny", "prompt": "a cat", "seed": number} for number in range(NUM_LINES))
    return b"\n".join(
        msgspec.json.encode({"custom_id": f"line {number}", "method": "POST", "url": URL,
                             "body": body})
        for number, body in enumerate(bodies)
    )  # fmt: skip


def begin(client: httpx.Client) -> str:
    form = {"purpose": "batch"}
    file = client.post("/v1/files", files={"file": ("lines.jsonl", lines())}, data=form)
    body = {"input_file_id": file.json()["id"], "endpoint": URL, "completion_window": "24h"}
    return str(client.post("/v1/batches", json=body).raise_for_status().json()["id"])


def found(client: httpx.Client, batch_id: str) -> dict[str, Any]:
    batch: dict[str, Any] = client.get(f"/v1/batches/{batch_id}").raise_for_status().json()
    return batch


def test_kills_in_a_batch(tmp_path: Path, database: str | None) -> None:
    data, port = tmp_path / "data", free_port()
    chance = random.Random(7)
    batch_id, counts = "", []
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        for kill in range(NUM_KILLS):
            with process(port, data, database, step_seconds=0.2):
                batch_id = batch_id or begin(client)
                time.sleep(chance.uniform(0.0, 1.5 if kill else 0.2))
                counts.append(found(client, batch_id)["request_counts"]["completed"])
        assert counts == sorted(counts), "answered lines were asked again"
        assert counts[0] < NUM_LINES, "the batch was over before it could be killed"
        with process(port, data, database):
            batch = ended(client, batch_id)
            answer = client.get(f"/v1/files/{batch['output_file_id']}/content")
    assert batch["status"] == "completed"
    assert batch["request_counts"] == {"total": NUM_LINES, "completed": NUM_LINES, "failed": 0}
    entries = [msgspec.json.decode(text) for text in answer.content.splitlines()]
    assert [entry["custom_id"] for entry in entries] == [f"line {n}" for n in range(NUM_LINES)]
    seeds = [entry["response"]["body"]["data"][0]["seed"] for entry in entries]
    assert seeds == list(range(NUM_LINES))


def ended(client: httpx.Client, batch_id: str) -> dict[str, Any]:
    deadline = time.monotonic() + FINISH_SECONDS
    while (batch := found(client, batch_id))["status"] != "completed":
        assert time.monotonic() < deadline, f"the batch stands at {batch}"
        time.sleep(0.2)
    return batch
