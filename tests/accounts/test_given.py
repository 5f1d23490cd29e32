"""The operator's key that the settings bring along."""

from pathlib import Path

import pytest
from litestar.testing import TestClient

from gateway.accounts.keys import KeyStore
from gateway.app import create_app
from gateway.cli.serve import check_door
from gateway.settings import Settings, SettingsError, read_settings
from tests.small_engine import TestEngine
from tests.web.openai.asking import PATH, Client, two_endpoints

SECRET = "gw-" + "s" * 40
WIDE = "0.0.0.0"


def opened(data: Path, secret: str | None) -> Client:
    """A gateway on a network, with no key but this one."""
    settings = Settings(endpoints=("tiny",), data=data, host=WIDE, operator_key=secret)
    return TestClient(create_app(settings, TestEngine(), two_endpoints()))


def statuses(client: Client, secret: str) -> tuple[int, int]:
    """Those of a picture and of the metrics."""
    headers = {"Authorization": f"Bearer {secret}"}
    drawn = client.post(PATH, json={"prompt": "x"}, headers=headers)
    return drawn.status_code, client.get("/metrics", headers=headers).status_code


def test_it_is_there_from_the_start_and_beside_those_made(tmp_path: Path) -> None:
    with opened(tmp_path, SECRET) as client:
        assert client.get("/health/ready").status_code == 200
        assert statuses(client, SECRET) == (200, 200)
        assert statuses(client, "gw-wrong") == (401, 401)
        assert client.post(PATH, json={"prompt": "x"}).status_code == 401
        _, made = KeyStore(tmp_path).create("somebody")
        assert statuses(client, made) == (200, 403)
        assert statuses(client, SECRET) == (200, 200)
    assert SECRET not in (tmp_path / "keys.json").read_text()


def test_another_is_the_end_of_it(tmp_path: Path) -> None:
    with opened(tmp_path, SECRET) as client:
        assert statuses(client, SECRET) == (200, 200)
    with opened(tmp_path, SECRET[::-1]) as client:
        assert statuses(client, SECRET) == (401, 401)
        assert statuses(client, SECRET[::-1]) == (200, 200)


def test_what_is_asked_with_it_is_its_own(tmp_path: Path) -> None:
    with opened(tmp_path, SECRET) as client:
        headers = {"Authorization": f"Bearer {SECRET}"}
        run = {"model_id": "tiny", "inputs": {"prompt": "x"}}
        id = client.post("/api/run", json=run, headers=headers).json()["run_id"]
        assert client.get(f"/api/run/{id}", headers=headers).status_code == 200
        _, other = KeyStore(tmp_path).create("somebody")
        stranger = {"Authorization": f"Bearer {other}"}
        assert client.get(f"/api/run/{id}", headers=stranger).status_code == 404


def test_with_it_a_gateway_starts_on_a_network(tmp_path: Path) -> None:
    check_door(Settings(data=tmp_path, host=WIDE, operator_key=SECRET))
    with pytest.raises(SettingsError, match="answers nobody"):
        check_door(Settings(data=tmp_path, host=WIDE))


def test_what_can_be_guessed_is_refused_and_not_repeated() -> None:
    with pytest.raises(SettingsError, match="too short") as refused:
        read_settings({}, {"GATEWAY_OPERATOR_KEY": "hunter2"})
    assert "hunter2" not in str(refused.value)
    assert read_settings({}, {"GATEWAY_OPERATOR_KEY": SECRET}).operator_key == SECRET
