"""Without a key: the gateway's own names and pages are answered, and nobody else's."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from litestar.testing import TestClient

from gateway.accounts.keys import KeyStore
from gateway.app import create_app
from gateway.settings import Settings
from tests.small_engine import TestEngine
from tests.web.openai.asking import PATH, Client, refused, two_endpoints

OWN = "http://127.0.0.1:8000"
ASKED = [
    ("GET", "/v1/models"),
    ("GET", "/status.json"),
    ("GET", "/metrics"),
    ("GET", "/v1/files"),
    ("POST", PATH),
    ("POST", "/v1/images/edits"),
    ("POST", "/v1/files"),
    ("GET", "/api/run/none"),
    ("GET", "/api/machines"),
    ("POST", "/api/run/queue"),
    ("POST", "/api/run/none/cancel"),
    ("POST", "/api/nothing/here"),
    ("POST", "/dedicated/v1/images/generations"),
]


def opened(folder: Path, **settings: Any) -> Client:
    """A client of a gateway that is not started: its runs are away, its door is there."""
    known = Settings(endpoints=("tiny",), data=folder, **settings)
    return TestClient(create_app(known, TestEngine(), two_endpoints()), base_url=OWN)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client of a gateway without keys, asking by the address that it listens at."""
    with opened(tmp_path_factory.mktemp("data")) as client:
        yield client


def draw(client: Client, **headers: str) -> Any:
    return client.post(PATH, json={"prompt": "a cat"}, headers=headers)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.0.0.1:8000", "127.0.0.1:9", "127.8.9.1", "localhost:8000", "LocalHost",
     "localhost.", "gateway.localhost:8000", "[::1]:8000", "[::1]"],
)  # fmt: skip
def test_loopback_has_many_names(client: Client, host: str) -> None:
    assert draw(client, Host=host).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["stranger.test", "stranger.test:8000", "192.168.1.5:8000", "0.0.0.0:8000", "10.0.0.1",
     "127.0.0.1.nip.test", "localhost.stranger.test", "notlocalhost", "127.0.0.1@stranger.test",
     "[::2]:8000", "[", "host.docker.internal:8000"],
)  # fmt: skip
def test_a_strangers_name_is_misdirected(client: Client, host: str) -> None:
    said = refused(draw(client, Host=host), 421, "misdirected_request", None)
    assert "allowed_hosts" in said


@pytest.mark.parametrize(("method", "path"), ASKED)
def test_every_route_that_knows_or_does_something_refuses(
    client: Client, method: str, path: str
) -> None:
    assert client.request(method, path, headers={"Host": "stranger.test"}).status_code == 421
    page = {"Origin": "https://stranger.test"}
    assert client.request(method, path, headers=page).status_code == 403
    image = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
    answer = client.request(method, path, headers=image)
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers
    assert ("detail" in answer.json()) == path.startswith("/api")


@pytest.mark.parametrize(
    "page",
    [
        {"Origin": "https://stranger.test"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://127.0.0.1:3000"},
        {"Origin": "http://localhost:8000"},
        {"Origin": "https://127.0.0.1"},
        {"Origin": "http://127.0.0.1:8000.stranger.test"},
        {"Origin": "http://127.0.0.1:port"},
        {"Origin": "app://127.0.0.1"},
        {"Origin": "http://["},
        {"Origin": "://"},
        {"Origin": "http://127.0.0.1:3000", "Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "something-new"},
    ],
    ids=str,
)
def test_a_page_of_another_origin_is_refused(client: Client, page: dict[str, str]) -> None:
    answer = draw(client, **page)
    assert "cors_origins" in refused(answer, 403, "origin_not_allowed", None)
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    "page",
    [
        {},
        {"Origin": OWN},
        {"Origin": OWN, "Sec-Fetch-Site": "same-origin"},
        {"Origin": "http://localhost:8000", "Host": "localhost:8000"},
        {"Origin": "http://localhost", "Host": "localhost"},
        {"Origin": "https://localhost", "Host": "localhost:443"},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
    ],
    ids=str,
)
def test_its_own_pages_and_programs_are_answered(client: Client, page: dict[str, str]) -> None:
    assert draw(client, **page).status_code == 200


def test_a_preflight_of_another_origin_is_not_granted(client: Client) -> None:
    asked = {"Origin": "https://stranger.test", "Access-Control-Request-Method": "POST"}
    assert "access-control-allow-origin" not in client.options(PATH, headers=asked).headers


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "image/png"])
@pytest.mark.parametrize(
    "path", [PATH, "/api/run/queue", "/api/run", "/api/workflow", "/api/deployment", "/v1/batches"]
)
def test_routes_of_json_take_nothing_else(client: Client, path: str, kind: str) -> None:
    answer = client.post(path, content=b'{"prompt": "x"}', headers={"Content-Type": kind})
    assert answer.status_code == 415
    assert kind in answer.text


def test_what_holds_nothing_is_shown_by_any_name(client: Client) -> None:
    """Probes ask by the address of a container; links lead to the pages."""
    url = draw(client).json()["data"][0]["url"].removeprefix(OWN)
    strange = {"Host": "10.1.2.3:8000", "Sec-Fetch-Site": "cross-site"}
    for path in ("/health/live", "/health/ready", "/", "/page/base.css", "/schema", url):
        assert client.get(path, headers=strange).status_code == 200


def test_the_operator_can_name_hosts_and_origins(tmp_path: Path) -> None:
    named = {"allowed_hosts": ("Host.Docker.Internal",), "cors_origins": ("https://app.test",)}
    client = opened(tmp_path, public_url="https://pictures.test/gw", **named)
    assert draw(client, Host="host.docker.internal:8000").status_code == 200
    assert draw(client, Host="pictures.test").status_code == 200
    assert draw(client, Host="stranger.test").status_code == 421
    proxied = {"Origin": "https://pictures.test"}
    assert draw(client, **proxied).status_code == 200
    named_page = {"Origin": "https://app.test", "Sec-Fetch-Site": "cross-site"}
    answer = draw(client, **named_page)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "https://app.test"
    for origin in ("https://other.test", "http://app.test", "https://app.test.stranger.test"):
        assert draw(client, Origin=origin).status_code == 403


def test_no_auth_on_a_network_answers_by_any_name_but_no_page(tmp_path: Path) -> None:
    client = opened(tmp_path, host="0.0.0.0", no_auth=True)
    assert draw(client, Host="gpu-box.lan:8000").status_code == 200
    own = {"Host": "gpu-box.lan:8000", "Origin": "http://gpu-box.lan:8000"}
    assert draw(client, **own).status_code == 200
    assert draw(client, **{**own, "Origin": "https://stranger.test"}).status_code == 403


def test_with_a_key_any_page_may_ask_by_any_name(tmp_path: Path) -> None:
    _, secret = KeyStore(tmp_path).create("app")
    client = opened(tmp_path)
    answer = draw(
        client,
        Host="gateway.test",
        Origin="https://app.test",
        Authorization=f"Bearer {secret}",
        **{"Sec-Fetch-Site": "cross-site"},
    )
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] in ("*", "https://app.test")
