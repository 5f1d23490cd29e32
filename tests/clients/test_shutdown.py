"""SIGTERM to a gateway on a socket: running work is finished, new work refused."""

import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.clients.pictures import opened
from tests.serving import Server, serving


@pytest.fixture
def ending(tmp_path: Path, models: tuple[str, ...]) -> Iterator[Server]:
    """A gateway of the test's own, with the default grace."""
    with serving(tmp_path, *models) as server:
        yield server


def test_running_work_is_finished(ending: Server) -> None:
    answers: list[httpx.Response] = []
    asking = threading.Thread(target=lambda: answers.append(draw(ending, 60)))
    asking.start()
    wait_until_running(ending)
    ending.process.send_signal(signal.SIGTERM)
    asking.join(60)
    assert answers[0].status_code == 200
    assert opened(answers[0].json()["data"][0]["b64_json"]).size == (128, 128)
    assert ending.process.wait(timeout=30) in (0, -signal.SIGTERM)


def test_new_work_is_refused(ending: Server) -> None:
    with httpx.Client(base_url=ending.url, timeout=60) as early:
        early.get("/health/live").raise_for_status()  # a connection from before the signal
        asking = threading.Thread(target=draw, args=(ending, 60))
        asking.start()
        wait_until_running(ending)
        ending.process.send_signal(signal.SIGTERM)
        refused = late_answer(early)
        asking.join(60)
    if refused is not None:
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) <= 60
        assert refused.json()["error"]["message"]
    assert ending.process.wait(timeout=30) in (0, -signal.SIGTERM)


def late_answer(client: httpx.Client) -> httpx.Response | None:
    """What a request after the signal gets; nothing where the connection was closed."""
    time.sleep(0.5)
    try:
        return client.post("/v1/images/generations", json=body(1))
    except httpx.TransportError:
        return None


def draw(server: Server, steps: int) -> httpx.Response:
    """Ask for a slow picture."""
    return httpx.post(f"{server.url}/v1/images/generations", json=body(steps), timeout=60)


def body(steps: int) -> dict[str, Any]:
    """A request of the slow endpoint."""
    return {"model": "slow", "prompt": "a red apple", "num_inference_steps": steps, "seed": 7}


def wait_until_running(server: Server) -> None:
    """Wait until the engine has the request."""
    time.sleep(0.7)
    assert server.process.poll() is None
