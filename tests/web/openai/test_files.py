"""What the Files API keeps for a key, and no more."""

from pathlib import Path
from typing import Any

from litestar.testing import TestClient

from gateway.app import create_app
from gateway.settings import Settings
from tests.small_engine import TestEngine, small_catalog
from tests.web.openai.test_batches import Client, begun, ended, line


def keep(client: Client, num_bytes: int) -> Any:
    file = {"file": ("a", bytes(num_bytes))}
    return client.post("/v1/files", files=file, data={"purpose": "user_data"})


def test_a_full_key_is_told_so_and_may_delete(tmp_path: Path) -> None:
    settings = Settings(endpoints=("tiny",), data=tmp_path, kept_gib=1 / 2**14)  # 64 KiB
    with TestClient(create_app(settings, TestEngine(), small_catalog())) as client:
        first = keep(client, 50_000).json()
        refused = keep(client, 20_000)
        assert refused.status_code == 413
        assert refused.json()["error"]["code"] == "storage_quota_exceeded"
        assert client.get("/v1/files").json()["data"] == [first]
        assert client.delete(f"/v1/files/{first['id']}").status_code == 200
        assert keep(client, 20_000).status_code == 200


def test_what_a_batch_was_answered_counts_and_is_never_refused(tmp_path: Path) -> None:
    settings = Settings(endpoints=("tiny",), data=tmp_path, kept_gib=1 / 2**17)  # 8 KiB
    with TestClient(create_app(settings, TestEngine(), small_catalog())) as client:
        batch = ended(client, begun(client, line("a"), line("b", size="1x1")))
        assert batch["request_counts"] == {"total": 2, "completed": 1, "failed": 1}
        assert keep(client, 10).status_code == 413
        for kind in ("input", "output", "error"):
            assert client.delete(f"/v1/files/{batch[f'{kind}_file_id']}").status_code == 200
        assert keep(client, 10).status_code == 200
