"""A batch outlives its process: killed at any moment, no line is lost and none doubled.

A line that was being answered at three kills is given up, since it may be what crashes us.
"""

import random
import time
from pathlib import Path
from typing import Any

import httpx
import msgspec

from gateway.runs.durable.claims import ALONE_AFTER_CRASHES
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
            drawn = entries(client, batch["output_file_id"])
            given_up = entries(client, batch["error_file_id"])
    assert batch["status"] == "completed"
    counted = {"total": NUM_LINES, "completed": len(drawn), "failed": len(given_up)}
    assert batch["request_counts"] == counted
    assert {entry["error"]["code"] for entry in given_up.values()} <= {"crashed"}
    assert len(given_up) <= NUM_KILLS - ALONE_AFTER_CRASHES
    assert sorted([*drawn, *given_up]) == sorted(f"line {n}" for n in range(NUM_LINES))
    for name, entry in drawn.items():
        assert name == f"line {entry['response']['body']['data'][0]['seed']}"


def entries(client: httpx.Client, file_id: str | None) -> dict[str, dict[str, Any]]:
    """The entries of a file, none of them twice, by the lines that they answer."""
    if file_id is None:
        return {}
    answer = client.get(f"/v1/files/{file_id}/content").raise_for_status()
    found = [msgspec.json.decode(text) for text in answer.content.splitlines()]
    by_name = {entry["custom_id"]: entry for entry in found}
    assert len(by_name) == len(found)
    return by_name


def ended(client: httpx.Client, batch_id: str) -> dict[str, Any]:
    deadline = time.monotonic() + FINISH_SECONDS
    while (batch := found(client, batch_id))["status"] != "completed":
        assert time.monotonic() < deadline, f"the batch stands at {batch}"
        time.sleep(0.2)
    return batch
