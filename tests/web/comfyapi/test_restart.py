"""Jobs of the Comfy API v2 beyond their process, and where there is no room for them."""

import time
from pathlib import Path

from tests.small_engine import TestEngine
from tests.web.comfyapi.app import ended, graph, served, submit


def test_a_restart_between_submit_and_end_loses_nothing(tmp_path: Path) -> None:
    slow = TestEngine(step_seconds=60)
    with served(tmp_path, slow, grace_seconds=0.1) as client:
        job = submit(client, graph(), "kept", metadata={"a": "b"})
        deadline = time.monotonic() + 30
        while not slow.jobs and time.monotonic() < deadline:
            client.get(job["urls"]["self"])
        assert slow.jobs
    with served(tmp_path) as client:
        assert submit(client, graph(), "kept", metadata={"a": "b"})["id"] == job["id"]
        done = ended(client, job)
        assert (done["status"], done["metadata"]) == ("succeeded", {"a": "b"})
        assert client.get(done["outputs"][0]["url"]).status_code == 200


def test_a_full_queue_says_when_to_come_back(tmp_path: Path) -> None:
    with served(tmp_path, max_open_runs=1) as client:
        job = submit(client, graph("a slow cat", model="slow", steps=2000))
        answer = client.post("/api/v2/jobs", json={"workflow": graph()})
        assert (answer.status_code, answer.json()["error"]["code"]) == (429, "queue_full")
        assert int(answer.headers["retry-after"]) >= 1
        client.post(job["urls"]["cancel"])
