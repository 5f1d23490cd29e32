"""SIGTERM to a gateway on a socket: running work is finished, new work refused."""

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.clients.pictures import opened
from tests.serving import Server, serving

ROUTE = "/v1/images/generations"


@pytest.fixture
def ending(tmp_path: Path, models: tuple[str, ...]) -> Iterator[Server]:
    """A gateway of the test's own."""
    with serving(tmp_path, *models, "--grace-seconds", "60") as server:
        yield server


def test_running_work_is_finished_and_new_work_refused(ending: Server) -> None:
    with (
        httpx.Client(base_url=ending.url, timeout=120) as running,
        httpx.Client(base_url=ending.url, timeout=120) as early,
    ):
        early.get("/health/live").raise_for_status()  # a connection from before the signal
        with running.stream("POST", ROUTE, json=body(30, stream=True)) as stream:
            lines = stream.iter_lines()
            next(line for line in lines if line.startswith(": step 1/"))
            ending.process.send_signal(signal.SIGTERM)
            until_not_ready(ending.url)
            refused = late_answer(early)
            (event,) = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
    assert event["type"] == "image_generation.completed"
    assert opened(event["b64_json"]).size == (128, 128)
    if refused is not None:
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) <= 60
        assert refused.json()["error"]["code"] == "server_is_overloaded"
    assert ending.process.wait(timeout=60) in (0, -signal.SIGTERM)


def test_work_past_the_grace_is_ended(tmp_path: Path, models: tuple[str, ...]) -> None:
    with serving(tmp_path, *models, "--grace-seconds", "1") as server:
        asked = body(2000, stream=True)
        with httpx.stream("POST", server.url + ROUTE, json=asked, timeout=60) as stream:
            lines = stream.iter_lines()
            next(line for line in lines if line.startswith(": step 1/"))
            server.process.send_signal(signal.SIGTERM)
            sent = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
        assert [event["type"] for event in sent] == ["error"]
        assert server.process.wait(timeout=30) in (0, -signal.SIGTERM)


def until_not_ready(url: str) -> None:
    """Wait until the signal has been heard."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/health/ready", timeout=60).status_code == 503:
                return
        except httpx.TransportError:
            return
        time.sleep(0.02)
    raise AssertionError("it still says that it is ready")


def late_answer(client: httpx.Client) -> httpx.Response | None:
    """What a request after the signal gets; nothing where the connection was closed."""
    try:
        return client.post(ROUTE, json=body(1))
    except httpx.TransportError:
        return None


def body(steps: int, **more: Any) -> dict[str, Any]:
    """A request of the slow endpoint."""
    asked = {"model": "slow", "prompt": "a red apple", "num_inference_steps": steps, "seed": 7}
    return asked | more
