"""How runs count towards a key's requests per minute."""

from pathlib import Path
from typing import Any

from litestar.testing import TestClient

from gateway.accounts.keys import KeyStore
from gateway.app import create_app
from gateway.settings import Settings
from tests.small_engine import TestEngine, small_catalog


def test_every_run_of_a_batch_is_a_request(tmp_path: Path) -> None:
    _, secret = KeyStore(tmp_path).create("shop", requests_per_minute=5)
    settings = Settings(endpoints=("tiny",), data=tmp_path)
    with TestClient(create_app(settings, TestEngine(), small_catalog())) as client:
        client.headers["Authorization"] = f"Bearer {secret}"

        def ask(**batch: Any) -> Any:
            body = {"model_id": "tiny", "inputs": {"prompt": "a cat"}, **batch}
            return client.post("/api/run", json=body)

        too_large = ask(batch_number=6)
        assert too_large.status_code == 400
        assert too_large.json()["code"] == "batch_too_large"
        too_many = ask(batch_number=5)
        assert too_many.status_code == 429
        assert 1 <= int(too_many.headers["retry-after"]) <= 60
        made = ask(batch_input_params={"prompt": ["a", "b", "c"]})
        assert made.status_code == 200
        assert len(made.json()["run_ids"]) == 3
        assert ask().status_code == 429
