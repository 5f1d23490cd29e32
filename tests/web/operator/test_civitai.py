"""A LoRA of Civitai's, loaded by request into the real engine, draws as the same file does."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from gateway.app import create_app
from gateway.catalog.collection import Collection
from gateway.catalog.folders import load_catalog
from gateway.engine.local import LocalEngine
from gateway.settings import Settings
from tests.engine import tiny, tiny_loras
from tests.fetching.standin import point_at, serving
from tests.fetching.test_civitai import NAME, SOURCE, Site
from tests.web.openai.asking import PATH, refused

Client = TestClient[Litestar]
LOAD, UNLOAD = "/v1/load_lora_adapter", "/v1/unload_lora_adapter"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with serving({}) as hub:
        point_at(hub, tmp_path / "hub", monkeypatch)
        monkeypatch.setenv("CIVITAI_ENDPOINT", f"{hub.url}/")
        yield Site(hub)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    tiny.save("sd", tmp_path / "models", steps={"min": 1, "max": 50, "default": 2})
    tiny_loras.save("sd", tmp_path / "adapters" / "sd", "ink")
    served = Collection.of(load_catalog((tmp_path / "models",), (tmp_path / "adapters",)))
    settings = Settings(data=tmp_path / "data", adapters=tmp_path / "adapters", threads=1)
    with TestClient(create_app(settings, LocalEngine(served, settings), served)) as client:
        deadline = time.monotonic() + 60
        while client.get("/health/ready").status_code != 200:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield client


def load(client: Client, source: str = SOURCE) -> Any:
    return client.post(LOAD, json={"lora_name": "sd:theirs", "lora_path": source})


def drawn(client: Client, model: str) -> bytes:
    asked = {"model": model, "prompt": "a", "size": "32x32", "seed": 3}
    answer = client.post(PATH, json=asked, headers={"accept": "image/webp"})
    assert answer.status_code == 200, answer.text
    return answer.content


def test_a_version_is_fetched_loaded_and_drawn_with(
    client: Client, site: Site, tmp_path: Path
) -> None:
    (file,) = (tmp_path / "adapters" / "sd").glob("ink*.safetensors")
    site.put(NAME, file.read_bytes())
    answer = load(client)
    assert (answer.status_code, answer.text[:7]) == (200, "Success")
    assert site.ranges()
    assert drawn(client, "sd:theirs") == drawn(client, "sd:ink") != drawn(client, "sd")
    # What was told of it and its bytes stay: it is not asked for again.
    num_asked = len(site.hub.asked)
    assert client.post(UNLOAD, json={"lora_name": "sd:theirs"}).status_code == 200
    assert load(client, f"civitai:827184@{SOURCE.removeprefix('civitai:')}").status_code == 200
    assert len(site.hub.asked) == num_asked


def test_what_is_no_lora_or_not_there_is_told(client: Client, site: Site) -> None:
    told = refused(load(client, "civitai:1"), 404, None, "lora_path")
    assert "Civitai has no such version" in told
    site.facts["model"]["type"] = "Checkpoint"
    site.put(NAME, b"weights")
    assert "no LoRA" in refused(load(client), 400, "invalid_value", "lora_path")
    assert not site.ranges()
    site.facts["model"]["type"], site.facts["files"] = "LORA", []
    site.put("ink.ckpt", b"pickle")
    assert "ink.ckpt" in refused(load(client), 400, "invalid_value", "lora_path")
