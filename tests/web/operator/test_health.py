"""Health and metrics, for those who watch from outside; no key is asked for."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from litestar import Litestar
from litestar.testing import TestClient
from prometheus_client.parser import text_string_to_metric_families

from gateway.accounts.keys import KeyStore
from gateway.app import create_app
from gateway.engine.protocol import EngineStatus
from gateway.images import objects
from gateway.runs.durable import schema
from gateway.settings import Settings
from tests.small_engine import TestEngine
from tests.web.openai.asking import two_endpoints


class LoadingEngine(TestEngine):
    """An engine that is not ready until told."""

    is_ready = False
    fault: str | None = None

    def status(self) -> EngineStatus:
        return EngineStatus(ready=self.is_ready, fault=self.fault, num_running=0, num_waiting=0)


@pytest.fixture
def engine() -> LoadingEngine:
    engine = LoadingEngine()
    engine.is_ready = True
    return engine


@pytest.fixture
def client(tmp_path: Path, engine: LoadingEngine) -> Iterator[TestClient[Litestar]]:
    KeyStore(tmp_path / "data").create("someone")
    settings = Settings(
        endpoints=("tiny",), data=tmp_path / "data", store=str(tmp_path / "store"), no_auth=True
    )
    with TestClient(create_app(settings, engine, two_endpoints())) as client:
        yield client


def health_of(client: TestClient[Litestar], path: str = "/health/ready") -> tuple[int, str, Any]:
    """Status code, status and checks, looked at anew."""
    for sign in client.app.state.vitals._signs.values():
        sign._fresh_seconds = 0.0
    answer = client.get(path)
    return answer.status_code, answer.json()["status"], answer.json()["checks"]


def test_live_at_once_and_ready_with_the_engine(
    client: TestClient[Litestar], engine: LoadingEngine
) -> None:
    engine.is_ready = False
    well = {"keys": "ok", "store": "ok", "database": "ok"}
    assert health_of(client) == (503, "loading", {"engine": "loading", **well})
    assert health_of(client, "/health") == (200, "loading", {"engine": "loading", **well})
    assert client.get("/health/live").json() == {"status": "ok"}
    engine.is_ready = True
    assert health_of(client) == (200, "ok", {"engine": "ok", **well})


def test_a_device_that_hangs_is_named(client: TestClient[Litestar], engine: LoadingEngine) -> None:
    engine.is_ready, engine.fault = False, "cpu has been in one turn for 61 s"
    code, status, checks = health_of(client)
    assert (code, status, checks["engine"]) == (503, "failing", engine.fault)
    assert metric(client, "gateway_health", check="engine") == 0
    engine.is_ready, engine.fault = True, None
    assert metric(client, "gateway_health", check="engine") == 1


def test_a_store_that_fails_is_noticed_and_so_is_its_recovery(
    client: TestClient[Litestar], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "PROVEN_SECONDS", 0)
    failures = metric(client, "gateway_store_failures_total", act="write")
    shutil.rmtree(tmp_path / "store")
    (tmp_path / "store").write_text("no folder")
    code, status, checks = health_of(client)
    assert (code, status, checks["database"]) == (200, "impaired", "ok")
    assert checks["store"] == "It could not be stored: Not a directory."
    assert metric(client, "gateway_health", check="store") == 0
    assert metric(client, "gateway_store_failures_total", act="write") > failures
    assert health_of(client, "/health")[0] == 200
    (tmp_path / "store").unlink()
    assert health_of(client)[:2] == (200, "ok")


def test_a_database_that_is_gone_is_named_and_pictures_are_drawn(
    client: TestClient[Litestar], engine: LoadingEngine
) -> None:
    runs = client.app.state.runs
    with runs.engine.begin() as connection:
        connection.execute(sa.text(f"ALTER TABLE {schema.runs.name} RENAME TO gone"))
    code, status, checks = health_of(client)
    assert (code, status, checks["store"]) == (200, "impaired", "ok")
    assert checks["database"] == "OperationalError"
    assert metric(client, "gateway_health", check="database") == 0
    asked = {"prompt": "a cat", "model": "tiny", "response_format": "b64_json"}
    assert client.post("/v1/images/generations", json=asked).status_code == 200
    engine.is_ready = False
    assert health_of(client)[:2] == (503, "loading")
    engine.fault = "it hangs"
    assert health_of(client)[:2] == (503, "failing")
    engine.is_ready, engine.fault = True, None
    with runs.engine.begin() as connection:
        connection.execute(sa.text(f"ALTER TABLE gone RENAME TO {schema.runs.name}"))
    assert health_of(client)[:2] == (200, "ok")


def test_what_is_being_stopped_is_not_ready(client: TestClient[Litestar]) -> None:
    client.app.state.vitals.is_leaving = True
    assert health_of(client)[:2] == (503, "stopping")
    assert client.get("/health/live").status_code == 200


def test_metrics_count_by_route_model_and_status(tmp_path: Path) -> None:
    settings = Settings(endpoints=("tiny",), data=tmp_path)
    with TestClient(create_app(settings, TestEngine(), two_endpoints())) as client:
        before = counted(client.get("/metrics").text)
        asked = {"prompt": "a cat", "model": "tiny:style"}
        for _ in range(2):
            assert client.post("/v1/images/generations", json=asked).status_code == 200
        assert client.post("/v1/images/generations", json={}).status_code == 400
        assert client.get("/made/up/by/a/client").status_code == 404
        answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    after = counted(answer.text)
    news = {labels: after[labels] - before.get(labels, 0) for labels in after}
    assert news["/v1/images/generations", "tiny:style", "200"] == 2
    assert news["/v1/images/generations", "", "400"] == 1
    assert not any("made" in route for route, _, _ in after)


def test_what_is_promised_has_a_metric(tmp_path: Path) -> None:
    settings = Settings(endpoints=("tiny",), data=tmp_path)
    with TestClient(create_app(settings, TestEngine(), two_endpoints())) as client:
        text = client.get("/metrics").text
    names = {family.name for family in text_string_to_metric_families(text)}
    assert {
        "gateway_requests",
        "gateway_request_seconds",
        "gateway_encode_seconds",
        "gateway_step_seconds",
        "gateway_queue_depth",
        "gateway_batch_samples",
        "gateway_loads",
        "gateway_evictions",
        "gateway_adapter_hits",
        "gateway_device_memory_bytes",
        "gateway_recorded_bytes",
    } <= names


def metric(client: TestClient[Litestar], name: str, **labels: str) -> float:
    """One sample of the metrics."""
    text = client.get("/metrics").text
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name and sample.labels == labels:
                return sample.value
    raise AssertionError(f"no {name} of {labels}")


def counted(text: str) -> dict[tuple[str, str, str], float]:
    """Requests by route, model and status."""
    return {
        (sample.labels["route"], sample.labels["model"], sample.labels["status"]): sample.value
        for family in text_string_to_metric_families(text)
        if family.name == "gateway_requests"
        for sample in family.samples
        if sample.name == "gateway_requests_total"
    }
