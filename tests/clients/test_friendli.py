"""Friendli's SDK, in the oldest and the newest line in use, against a gateway on a socket."""

import base64
import math
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.clients.environments import run_python
from tests.clients.pictures import fetched, opened, same
from tests.serving import Server

PROGRAM = Path(__file__).parent / "programs" / "friendli_sdk.py"
TIMEOUT_SECONDS = 5
"""What the SDK waits for a byte."""


@pytest.fixture(params=["friendli-0.7", "friendli-0.16"])
def environment(request: pytest.FixtureRequest) -> str:
    """The line of the SDK."""
    return str(request.param)


def ask(environment: str, server: Server, case: str, *more: str) -> Any:
    """What one case of the program got."""
    return run_python(environment, PROGRAM, server.url, server.key, case, *more)


def test_a_plain_call_gets_a_url(environment: str, server: Server) -> None:
    (item,) = ask(environment, server, "default")["items"]
    assert item["response_format"] == "url"
    assert isinstance(item["seed"], int)
    assert fetched(item["url"]).size == (64, 64)


def test_one_seed_makes_one_picture(environment: str, server: Server) -> None:
    first, second = (ask(environment, server, "seeded")["items"][0] for _ in range(2))
    assert (first["seed"], first["response_format"], first["url"]) == (7, "png", None)
    assert same(opened(first["b64_json"]), opened(second["b64_json"]))


def test_an_adapter_by_its_route(environment: str, server: Server) -> None:
    base, ink = (
        opened(ask(environment, server, case)["items"][0]["b64_json"])
        for case in ("seeded", "adapter")
    )
    assert not same(base, ink)


def test_raw_pixels_are_the_pictures(environment: str, server: Server) -> None:
    (raw,) = ask(environment, server, "raw")["items"]
    (png,) = ask(environment, server, "seeded")["items"]
    assert raw["response_format"] == "raw"
    assert base64.b64decode(raw["b64_json"]) == opened(png["b64_json"]).convert("RGB").tobytes()


@pytest.mark.parametrize("case", ["container", "container-prefix"])
def test_the_container_dialect(server: Server, case: str) -> None:
    assert opened(ask("friendli-0.16", server, case)["image"]).format == "JPEG"


def test_an_unknown_route_is_not_found(environment: str, server: Server) -> None:
    assert ask(environment, server, "unknown") == {"status": 404, "code": "model_not_found"}


def test_a_slow_call_outlives_the_sdks_timeout(environment: str, server: Server) -> None:
    steps = math.ceil(1.6 * TIMEOUT_SECONDS / seconds_per_step(server))
    got = ask(environment, server, "slow", str(min(steps, 2000)))
    assert got["seconds"] > TIMEOUT_SECONDS
    assert opened(got["items"][0]["b64_json"]).size == (128, 128)


def seconds_per_step(server: Server) -> float:
    """How long one step of the slow endpoint takes here."""
    headers = {"Authorization": f"Bearer {server.key}"}
    taken = []
    for steps in (2, 12):
        body = {"model": "slow", "prompt": "warm", "num_inference_steps": steps}
        started = time.monotonic()
        url = f"{server.url}/v1/images/generations"
        httpx.post(url, json=body, headers=headers, timeout=60).raise_for_status()
        taken.append(time.monotonic() - started)
    return max((taken[1] - taken[0]) / 10, 0.001)
