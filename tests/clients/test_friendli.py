"""Friendli's SDK, in the oldest and the newest line in use, against a gateway on a socket."""

import base64
import math
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.clients.environments import run_python
from tests.clients.pictures import fetched, opened, same
from tests.serving import Server

PROGRAM = Path(__file__).parent / "programs" / "friendli_sdk.py"
TIMEOUT_SECONDS = 5
"""What the SDK waits for a byte."""


DEDICATED = ("slow", "default", "seeded", "again", "adapter", "raw", "unknown")
CONTAINER = ("container", "container-prefix")


def ask(environment: str, server: Server, *cases: str) -> Any:
    """What a line of the SDK got, by case."""
    steps = math.ceil(1.6 * TIMEOUT_SECONDS / seconds_per_step(server))
    told = (server.url, server.key, str(min(steps, 2000)))
    return run_python(environment, PROGRAM, *told, *cases)


@pytest.fixture(scope="module")
def older(server: Server) -> Any:
    return ask("friendli-0.7", server, *DEDICATED)


@pytest.fixture(scope="module")
def newer(server: Server) -> Any:
    return ask("friendli-0.16", server, *DEDICATED, *CONTAINER)


@pytest.fixture(params=["older", "newer"])
def got(request: pytest.FixtureRequest) -> Any:
    """What each line of the SDK got, by case."""
    return request.getfixturevalue(request.param)


def picture(got: Any, case: str) -> Image.Image:
    """The one picture of a case."""
    (item,) = got[case]["items"]
    return opened(item["b64_json"])


def test_a_plain_call_gets_a_url(got: Any) -> None:
    (item,) = got["default"]["items"]
    assert item["response_format"] == "url"
    assert isinstance(item["seed"], int)
    assert fetched(item["url"]).size == (64, 64)


def test_one_seed_makes_one_picture(got: Any) -> None:
    (item,) = got["seeded"]["items"]
    assert (item["seed"], item["response_format"], item["url"]) == (7, "png", None)
    assert same(picture(got, "seeded"), picture(got, "again"))


def test_an_adapter_by_its_route(got: Any) -> None:
    assert not same(picture(got, "seeded"), picture(got, "adapter"))


def test_raw_pixels_are_the_pictures(got: Any) -> None:
    (raw,) = got["raw"]["items"]
    assert raw["response_format"] == "raw"
    pixels = picture(got, "seeded").convert("RGB").tobytes()
    assert base64.b64decode(raw["b64_json"]) == pixels


@pytest.mark.parametrize("case", CONTAINER)
def test_the_container_dialect(newer: Any, case: str) -> None:
    assert opened(newer[case]["image"]).format == "JPEG"


def test_an_unknown_route_is_not_found(got: Any) -> None:
    assert got["unknown"] == {"status": 404, "code": "model_not_found"}


def test_a_slow_call_outlives_the_sdks_timeout(got: Any) -> None:
    assert got["slow"]["seconds"] > TIMEOUT_SECONDS
    assert picture(got, "slow").size == (128, 128)


def seconds_per_step(server: Server) -> float:
    """How long one step of the slow endpoint takes here, at its quickest."""
    headers = {"Authorization": f"Bearer {server.key}"}
    taken = []
    for steps in (2, 2, 12, 12):  # the first is slower than the rest
        body = {"model": "slow", "prompt": "warm", "num_inference_steps": steps}
        started = time.monotonic()
        url = f"{server.url}/v1/images/generations"
        httpx.post(url, json=body, headers=headers, timeout=60).raise_for_status()
        taken.append(time.monotonic() - started)
    return max((min(taken[2:]) - taken[1]) / 10, 0.001)
