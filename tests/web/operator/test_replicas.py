"""Replicas drained and restarted by request: by whom, and what is told."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from litestar.testing import TestClient

from gateway.accounts.keys import KeyStore
from gateway.app import create_app
from gateway.engine.protocol import EngineStatus, ReplicaStatus
from gateway.errors import NotFound
from gateway.settings import Settings
from tests.small_engine import TestEngine, small_catalog
from tests.web.openai.asking import Client


class Two(TestEngine):
    """Two replicas, of which nothing is there but how they stand."""

    def __init__(self) -> None:
        super().__init__()
        self.standings = {"cpu.1": "ready", "cpu.2": "ready"}

    def status(self) -> EngineStatus:
        told = (ReplicaStatus(name=name, standing=how) for name, how in self.standings.items())
        return EngineStatus(ready=True, num_running=0, num_waiting=0, replicas=tuple(told))

    async def drain(self, replica: str) -> None:
        if replica not in self.standings:
            raise NotFound(f"There is no replica `{replica}`.")
        self.standings[replica] = "ended"

    async def restart(self, replica: str | None = None) -> None:
        self.standings |= dict.fromkeys([replica] if replica else self.standings, "ready")


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with opened(tmp_path, Two()) as client:
        yield client


def opened(folder: Path, engine: TestEngine) -> Client:
    return TestClient(create_app(Settings(data=folder), engine, small_catalog()))


def standings(client: Client, path: str) -> dict[str, str]:
    answer = client.post(f"/v1/replicas/{path}")
    assert answer.status_code == 200, answer.text
    return {one["name"]: one["standing"] for one in answer.json()["replicas"]}


def test_one_is_drained_and_all_or_one_begun_anew(client: Client) -> None:
    assert standings(client, "cpu.1/drain") == {"cpu.1": "ended", "cpu.2": "ready"}
    assert standings(client, "cpu.1/restart") == {"cpu.1": "ready", "cpu.2": "ready"}
    standings(client, "cpu.2/drain")
    assert standings(client, "restart") == {"cpu.1": "ready", "cpu.2": "ready"}
    assert client.post("/v1/replicas/none/drain").status_code == 404


def test_only_operators_may_and_only_they_see_replicas(tmp_path: Path) -> None:
    keys = KeyStore(tmp_path)
    (_, someone), (_, operator) = keys.create("someone"), keys.create("op", operator=True)
    with opened(tmp_path, Two()) as client:
        for key, code, seen in ((someone, 403, 0), (operator, 200, 2)):
            client.headers["Authorization"] = f"Bearer {key}"
            assert client.post("/v1/replicas/cpu.1/drain").status_code == code
            assert client.post("/v1/replicas/restart").status_code == code
            assert len(client.get("/status.json").json()["engine"]["replicas"]) == seen


def test_one_device_has_none(tmp_path: Path) -> None:
    with opened(tmp_path, TestEngine()) as client:
        assert client.post("/v1/replicas/restart").status_code == 501
