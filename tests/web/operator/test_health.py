"""Health and metrics, for those who watch from outside; no key is asked for."""

from pathlib import Path

from litestar.testing import TestClient
from prometheus_client.parser import text_string_to_metric_families

from gateway.accounts.keys import KeyStore
from gateway.app import create_app
from gateway.engine.protocol import EngineStatus
from gateway.settings import Settings
from tests.runs.drawing import TestEngine
from tests.web.openai.asking import two_endpoints


class LoadingEngine(TestEngine):
    """An engine that is not ready until told."""

    is_ready = False

    def status(self) -> EngineStatus:
        return EngineStatus(ready=self.is_ready, num_running=0, num_waiting=0)


def test_live_at_once_and_ready_with_the_engine(tmp_path: Path) -> None:
    KeyStore(tmp_path).create("someone")
    engine = LoadingEngine()
    settings = Settings(endpoints=("tiny",), data=tmp_path)
    with TestClient(create_app(settings, engine, two_endpoints())) as client:
        for path in ("/health", "/health/live"):
            assert client.get(path).json() == {"status": "ok"}
        waiting = client.get("/health/ready")
        assert (waiting.status_code, waiting.json()) == (503, {"status": "loading"})
        engine.is_ready = True
        ready = client.get("/health/ready")
        assert (ready.status_code, ready.json()) == (200, {"status": "ok"})


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
    } <= names


def counted(text: str) -> dict[tuple[str, str, str], float]:
    """Requests by route, model and status."""
    return {
        (sample.labels["route"], sample.labels["model"], sample.labels["status"]): sample.value
        for family in text_string_to_metric_families(text)
        if family.name == "gateway_requests"
        for sample in family.samples
        if sample.name == "gateway_requests_total"
    }
