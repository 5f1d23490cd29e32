"""A device that hangs, as the probes and the metrics of the real engine show it."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient
from prometheus_client.parser import text_string_to_metric_families

from gateway.app import create_app
from gateway.catalog.catalog import Catalog
from gateway.catalog.folders import load_catalog
from gateway.engine.device import pulse
from gateway.engine.local import LocalEngine
from gateway.settings import Settings
from tests.engine import tiny
from tests.engine.holding import holding
from tests.web.openai.asking import PATH

Client = TestClient[Litestar]


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    tiny.save("sd", tmp_path / "models", steps={"min": 1, "max": 50, "default": 2})
    return load_catalog((tmp_path / "models",), ())


@pytest.fixture
def client(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Client]:
    """A gateway that takes a device for hung soon; its first turns may take long."""
    monkeypatch.setattr(pulse, "LEAST_SECONDS", 0.2)
    monkeypatch.setattr(pulse, "TIMES_LONGEST", 2)
    settings = Settings(data=tmp_path / "data", threads=1)
    with TestClient(create_app(settings, LocalEngine(catalog, settings), catalog)) as client:
        until(lambda: readiness(client)[0] == 200)
        yield client


def until(check: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not check():
        assert time.monotonic() < deadline, "it never was so"
        time.sleep(0.02)


def readiness(client: Client) -> tuple[int, Any]:
    answer = client.get("/health/ready")
    return answer.status_code, answer.json()["checks"]["engine"]


def is_hung(client: Client) -> float:
    families = text_string_to_metric_families(client.get("/metrics").text)
    (family,) = [one for one in families if one.name == "gateway_engine_hung"]
    (sample,) = [one for one in family.samples if one.labels == {"device": "cpu"}]
    return sample.value


def draw(client: Client) -> int:
    body = {"prompt": "a", "size": "32x32", "response_format": "b64_json"}
    return client.post(PATH, json=body).status_code


def test_a_device_that_hangs_is_not_ready_until_it_comes_back(client: Client) -> None:
    assert draw(client) == 200
    until(lambda: is_hung(client) == 0)
    with ThreadPoolExecutor() as others, holding() as held:
        drawn = others.submit(draw, client)
        held.wait()
        until(lambda: readiness(client)[0] == 503)
        assert "cpu has been in one turn for" in readiness(client)[1]
        assert client.get("/health").json()["status"] == "failing"
        assert is_hung(client) == 1
        assert client.get("/health/live").status_code == 200
        held.let_go()
        assert drawn.result() == 200
    until(lambda: readiness(client) == (200, "ok"))
    until(lambda: is_hung(client) == 0)
