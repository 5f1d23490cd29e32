"""The operator's snapshot: what runs, and what was asked lately."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from gateway.accounts.keys import KeyStore
from gateway.app import create_app
from gateway.catalog.cards import EndpointCard, Sizes
from gateway.catalog.catalog import Catalog
from gateway.engine.protocol import EngineStatus, LoadedEndpoint
from gateway.fetching.progress import followed
from gateway.settings import Settings
from gateway.telemetry.recent import NUM_KEPT
from tests.small_engine import TestEngine, small_catalog

Client = TestClient[Litestar]


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    tiny = EndpointCard(id="tiny", sizes=Sizes(native=(64, 64), min=32, max=256, multiple_of=8))
    settings = Settings(endpoints=("tiny",), data=tmp_path, max_batch=8, max_waiting=16)
    with TestClient(create_app(settings, TestEngine(), Catalog({"tiny": tiny}, {}))) as client:
        yield client


def test_it_tells_the_engine_and_its_bounds(client: Client) -> None:
    snapshot = client.get("/status.json").json()
    assert snapshot["endpoints"] == ["tiny"]
    assert (snapshot["max_batch"], snapshot["max_waiting"]) == (8, 16)
    assert snapshot["engine"]["num_running"] == 0
    assert snapshot["uptime_seconds"] >= 0


def test_requests_for_work_are_kept_newest_first(client: Client) -> None:
    asked = {"prompt": "a secret wish", "n": 2, "num_inference_steps": 3}
    client.post("/v1/images/generations", json=asked)
    client.post("/v1/images/generations", json={"prompt": "", "model": "tiny"})
    client.get("/v1/models")
    refused, drawn = client.get("/status.json").json()["recent"]
    assert (refused["status"], refused["model"]) == (400, None)
    assert (drawn["status"], drawn["model"]) == (200, "tiny")
    assert (drawn["n"], drawn["num_inference_steps"]) == (2, 3)
    assert drawn["seconds"] > 0
    assert "secret" not in client.get("/status.json").text


def test_downloads_are_told_of_while_they_last(client: Client) -> None:
    with followed("tiny", 3, 1000, lambda _: None) as fetch:
        fetch.at("a", 100)
        fetch.at("b", 200)
        fetch.at("a", 50)  # begun anew
        [told] = client.get("/status.json").json()["fetching"]
        assert (told["model"], told["num_files"]) == ("tiny", 3)
        assert (told["done_bytes"], told["total_bytes"]) == (250, 1000)
        metrics = client.get("/metrics").text
        assert 'gateway_fetched_bytes{model="tiny"} 250.0' in metrics
        assert 'gateway_fetch_total_bytes{model="tiny"} 1000.0' in metrics
    assert client.get("/status.json").json()["fetching"] == []


def test_old_requests_are_forgotten(client: Client) -> None:
    for _ in range(NUM_KEPT + 5):
        client.post("/v1/images/generations", json={})
    assert len(client.get("/status.json").json()["recent"]) == NUM_KEPT


def test_a_key_is_asked_for_but_not_used_up(client: Client, tmp_path: Path) -> None:
    _, secret = KeyStore(tmp_path).create("operator", requests_per_minute=1)
    headers = {"Authorization": f"Bearer {secret}"}
    assert client.get("/status.json").status_code == 401
    assert [client.get("/status.json", headers=headers).status_code for _ in range(3)] == [200] * 3


def test_a_key_learns_nothing_of_weights_that_it_may_not_use(tmp_path: Path) -> None:
    class Holding(TestEngine):
        def status(self) -> EngineStatus:
            digests: dict[str, str | None] = {"tiny": "a" * 16, "tiny:style": "b" * 16}
            one = LoadedEndpoint("tiny", "P", "cpu", 1, ("style",), digests)
            return EngineStatus(ready=True, num_running=0, num_waiting=0, loaded=(one,))

    keys = KeyStore(tmp_path)
    _, all_of_it = keys.create("operator", operator=True)
    _, style = keys.create("style", models=("tiny:style",))
    with TestClient(create_app(Settings(data=tmp_path), Holding(), small_catalog())) as client:
        for secret, seen in {all_of_it: ["tiny", "tiny:style"], style: ["tiny:style"]}.items():
            headers = {"Authorization": f"Bearer {secret}"}
            [one] = client.get("/status.json", headers=headers).json()["engine"]["loaded"]
            assert list(one["digests"]) == seen
            cards = client.get("/v1/models", headers=headers).json()["data"]
            told = {card["id"]: card["digest"] for card in cards if card["digest"]}
            assert told == {id: digest for id, digest in one["digests"].items() if id in seen}
            path = f"/v1/models/tiny:style@{'b' * 16}"
            assert client.get(path, headers=headers).json()["digest"] == "b" * 16
            assert "not `cc`" in client.get("/v1/models/tiny:style@cc", headers=headers).text


def test_each_step_is_told_in_a_comment_that_other_clients_skip(client: Client) -> None:
    asked = {"prompt": "a cat", "num_inference_steps": 2, "stream": True}
    stream = client.post("/v1/images/generations", json=asked).text
    assert ": step 1/2 of 0\n\n" in stream
    assert ": step 2/2 of 0\n\n" in stream
