"""Whole applications of their own, one at a time: dbos is one a process."""

from pathlib import Path

from litestar.testing import TestClient

from gateway.accounts.keys import KeyStore
from gateway.app import create_app
from gateway.settings import Settings
from tests.small_engine import TestEngine, small_catalog
from tests.web.openai.asking import PATH, refused, two_endpoints


def test_browsers_may_call_with_a_key(tmp_path: Path) -> None:
    _, secret = KeyStore(tmp_path).create("app")
    settings = Settings(endpoints=("tiny",), data=tmp_path)
    page = {"Origin": "https://app.example"}
    asked = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,x-stainless-os,x-new",
    }
    with TestClient(create_app(settings, TestEngine(), two_endpoints())) as client:
        answer = client.options(PATH, headers=page | asked)
        assert answer.status_code == 204
        allowed = answer.headers["access-control-allow-headers"].lower()
        assert all(name in allowed for name in ("authorization", "x-stainless-os", "x-new"))
        assert client.options(PATH).status_code == 204
        called = client.get("/v1/models", headers=page | {"Authorization": f"Bearer {secret}"})
    assert called.status_code == 200
    assert called.headers["access-control-allow-origin"] in ("*", "https://app.example")
    assert "x-request-id" in called.headers["access-control-expose-headers"]


def test_who_names_a_deadline_gets_its_status(tmp_path: Path) -> None:
    settings = Settings(endpoints=("tiny",), data=tmp_path, heartbeat_seconds=0.05)
    with TestClient(create_app(settings, TestEngine(), small_catalog())) as client:
        body = {"prompt": "slow fail", "num_inference_steps": 4, "timeout": 30}
        refused(client.post(PATH, json=body), 500, "generation_failed", None)


def test_what_fails_after_its_status_was_sent_still_says_why(tmp_path: Path) -> None:
    settings = Settings(endpoints=("tiny",), data=tmp_path, heartbeat_seconds=0.05)
    with TestClient(create_app(settings, TestEngine(), small_catalog())) as client:
        body = {"prompt": "slow fail", "num_inference_steps": 4}
        answer = client.post(PATH, json=body)
    assert answer.status_code == 200
    assert answer.headers["x-waiting-for"] == "loading tiny"
    assert answer.content.startswith(b" ")
    assert answer.json()["error"]["code"] == "generation_failed"
