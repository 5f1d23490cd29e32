"""Keys on the wire: who may ask, for what, and how often."""

import asyncio
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from litestar.testing import TestClient

from gateway.accounts.keys import KeyStore
from gateway.app import create_app
from gateway.settings import Settings
from tests.small_engine import TestEngine
from tests.web.openai.asking import PATH, Client, post, refused, two_endpoints


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


def opened(folder: Path, **settings: Any) -> Client:
    known = Settings(endpoints=("tiny",), data=folder, **settings)
    return TestClient(create_app(known, TestEngine(), two_endpoints()))


def draw(client: Client, secret: str = "") -> int:
    headers = {"Authorization": f"Bearer {secret}"} if secret else {}
    status: int = client.post(PATH, json={"prompt": "x"}, headers=headers).status_code
    return status


def corrupt(file: Path) -> None:
    file.write_text('[{"id": "a",')


def cover(file: Path) -> None:
    file.unlink()
    file.mkdir()


LOSSES: dict[str, Callable[[Path], object]] = {
    "revoked": lambda file: KeyStore(file.parent).revoke(KeyStore(file.parent).keys()[0].id),
    "lost": lambda file: file.unlink(),
    "emptied": lambda file: file.write_text("[]"),
    "cut": lambda file: file.write_text(""),
    "corrupt": corrupt,
    "a folder": cover,
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1"])
def test_losing_the_keys_opens_nothing(tmp_path: Path, host: str, loss: str) -> None:
    _, secret = KeyStore(tmp_path).create("only")
    client = opened(tmp_path, host=host)
    assert (draw(client), draw(client, secret)) == (401, 200)
    LOSSES[loss](tmp_path / "keys.json")
    assert draw(client) == draw(client, "gw-wrong") == 401
    assert client.get("/status.json").status_code == 401
    assert "key" in client.get("/health/ready").text


@pytest.mark.parametrize("loss", ["lost", "emptied", "revoked"])
def test_a_gateway_that_can_let_nobody_in_is_not_ready(tmp_path: Path, loss: str) -> None:
    KeyStore(tmp_path).create("only")
    client = opened(tmp_path, host="::")
    assert client.get("/health/ready").json()["status"] == "ok"
    LOSSES[loss](tmp_path / "keys.json")
    told = client.get("/health/ready")
    assert (told.status_code, told.json()["checks"]["keys"]) == (503, "no API key")
    assert "gateway keys create" in told.json()["warnings"][0]
    _, secret = KeyStore(tmp_path).create("new")
    assert client.get("/health/ready").json()["status"] == "ok"
    assert draw(client, secret) == 200


@pytest.mark.parametrize("loss", ["cut", "corrupt", "a folder"])
def test_keys_stay_in_force_while_their_file_cannot_be_read(
    tmp_path: Path, loss: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _, secret = KeyStore(tmp_path).create("only")
    client = opened(tmp_path)
    assert draw(client, secret) == 200
    LOSSES[loss](tmp_path / "keys.json")
    assert (draw(client, secret), draw(client)) == (200, 401)
    told = client.get("/health/ready")
    assert told.status_code == 200
    assert "cannot be read" in told.json()["warnings"][0]
    assert str(tmp_path) not in told.text
    assert "keys.json cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_key_file_that_cannot_be_read_at_the_start_closes_the_door(
    tmp_path: Path, host: str
) -> None:
    corrupt(tmp_path / "keys.json")
    client = opened(tmp_path, host=host)
    assert draw(client) == 401
    assert client.get("/health/ready").status_code == 503
    (tmp_path / "keys.json").unlink()
    assert draw(client) == 401
    _, secret = KeyStore(tmp_path).create("new")
    assert draw(client, secret) == 200


def test_an_open_door_closes_with_the_first_key_for_good(tmp_path: Path) -> None:
    client = opened(tmp_path)
    assert draw(client) == 200
    key, secret = KeyStore(tmp_path).create("first")
    assert (draw(client), draw(client, secret)) == (401, 200)
    KeyStore(tmp_path).revoke(key.id)
    assert (draw(client), draw(client, secret)) == (401, 401)
    client = opened(tmp_path)
    assert draw(client) == 200, "decided anew at the next start"


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "", "192.168.1.5", "10.0.0.1", "gateway.test", "fe80::1", "127.1"]
)
def test_bound_to_anything_but_loopback_a_key_is_asked_for(tmp_path: Path, host: str) -> None:
    client = opened(tmp_path, host=host)
    assert draw(client) == 401


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost", "LOCALHOST"])
def test_bound_to_loopback_none_is(tmp_path: Path, host: str) -> None:
    client = opened(tmp_path, host=host)
    assert draw(client) == 200


@pytest.mark.parametrize(
    ("address", "status"),
    [("10.0.0.1", 401), ("[2001:db8::1]", 401), ("[::ffff:10.0.0.1]", 401),
     ("127.0.0.1", 200), ("[::1]", 200), ("[::ffff:127.0.0.1]", 200)],
)  # fmt: skip
def test_a_server_that_listens_more_widely_than_the_settings_say(
    tmp_path: Path, address: str, status: int
) -> None:
    """Other servers than `gateway serve` bind as they like; a connection tells where it came in."""
    settings = Settings(endpoints=("tiny",), data=tmp_path)
    app: Any = create_app(settings, TestEngine(), two_endpoints())

    async def ask() -> int:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{address}") as client:
            return (await client.get("/v1/models")).status_code

    assert asyncio.run(ask()) == status


def test_only_no_auth_answers_anyone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    KeyStore(tmp_path).create("unneeded")
    client = opened(tmp_path, host="0.0.0.0", no_auth=True)
    assert draw(client) == 200
    ready = client.get("/health/ready")
    assert ready.status_code == 200
    assert "no_auth" in ready.json()["warnings"][0]
    assert "no_auth" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["cd_token", "token"])
def test_a_key_in_the_query_is_written_nowhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    _, secret = KeyStore(tmp_path).create("old client", operator=True)
    with opened(tmp_path) as client:
        asked = {name: secret}
        assert client.post(PATH, json={"prompt": "x"}, params=asked).status_code == 200
        assert client.post("/api/run/none/cancel", params=asked).status_code == 404
        wrong = {name: "gw-wrong"}
        assert client.post("/api/run/none/cancel", params=wrong).status_code == 401
        shown = client.get("/status.json", params=asked).text
        measured = client.get("/metrics", params=asked).text
    logged = capsys.readouterr().err
    assert "/api/run/none/cancel" in logged
    for text in (logged, shown, measured):
        assert secret not in text
        assert f"{name}=" not in text


def test_a_key_may_be_the_password_of_any_name(tmp_path: Path) -> None:
    _, secret = KeyStore(tmp_path).create("old client")
    client = opened(tmp_path)
    statuses = [basic(client, text) for text in (f"me:{secret}", f":{secret}", secret, "me:gw-a")]
    assert statuses == [200, 200, 401, 401]
    assert basic(client, f"me:{secret}", Origin="http://elsewhere.example") == 403
    assert basic(client, f"me:{secret}", **{"Sec-Fetch-Site": "cross-site"}) == 403
    assert basic(client, f"me:{secret}", **{"Sec-Fetch-Site": "same-origin"}) == 200
    broken = {b"authorization": b"Basic \xe9="}
    assert client.get("/v1/models", headers=broken).status_code == 401


def basic(client: Client, text: str, **headers: str) -> int:
    given = {"Authorization": f"Basic {b64encode(text.encode()).decode()}", **headers}
    status: int = client.get("/v1/models", headers=given).status_code
    return status
