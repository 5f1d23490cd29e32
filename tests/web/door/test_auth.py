"""Keys on the wire: who may ask, for what, and how often."""

from pathlib import Path

from litestar.testing import TestClient

from gateway.accounts.keys import KeyStore
from gateway.app import create_app
from gateway.settings import Settings
from tests.runs.drawing import TestEngine
from tests.web.openai.asking import PATH, post, refused, two_endpoints


def test_keys_guard_every_route_that_draws(tmp_path: Path) -> None:
    keys = KeyStore(tmp_path)
    _, secret = keys.create("any")
    _, narrow = keys.create("narrow", models=("resampled",), requests_per_minute=2)
    settings = Settings(endpoints=("tiny",), data=tmp_path)
    with TestClient(create_app(settings, TestEngine(), two_endpoints())) as client:
        refused(post(client), 401, "invalid_api_key", None)
        wrong = client.post(PATH, json={"prompt": "x"}, headers={"api-key": "gw-wrong"})
        assert "gw-wrong" not in refused(wrong, 401, "invalid_api_key", None)
        for headers in ({"Authorization": f"Bearer {secret}"}, {"api-key": secret}):
            assert client.post(PATH, json={"prompt": "x"}, headers=headers).status_code == 200
        bearer = {"Authorization": f"Bearer {narrow}"}
        listed = client.get("/v1/models", headers=bearer).json()["data"]
        assert [model["id"] for model in listed] == ["resampled"]
        refused(
            client.post(PATH, json={"prompt": "x"}, headers=bearer),
            403,
            "permission_denied",
            "model",
        )
        third = client.post(PATH, json={"prompt": "x"}, headers=bearer)
        refused(third, 429, "rate_limit_exceeded", None)
        assert int(third.headers["retry-after"]) <= 60
