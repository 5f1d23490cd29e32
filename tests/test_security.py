"""SECURITY.md's table of what each sees, held against every route there is."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar
from litestar.routes import HTTPRoute, WebSocketRoute
from litestar.testing import TestClient

from gateway.accounts.keys import KeyStore
from gateway.app import create_app
from gateway.settings import Settings
from tests.small_engine import TestEngine
from tests.web.openai.asking import two_endpoints

TEXT = (Path(__file__).parents[1] / "SECURITY.md").read_text()
ROW = re.compile(r"^\| (`(?:POST )?/.*) \| (.+) \| (.+) \|$", re.M)
PATHS = {
    path: stranger
    for routes, stranger, _ in ROW.findall(TEXT)
    for path in re.findall(r"`([^`]+)`", routes)
}
"""What a stranger gets, by the path of a route or, ended with `…`, its beginning.

A method before it means that one alone.
"""

SOCKETS = dict.fromkeys(path for path in PATHS if path.endswith("/ws"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def client(data: Path) -> Iterator[TestClient[Litestar]]:
    """A client of a closed gateway that holds no key."""
    KeyStore(data).create("somebody")
    settings = Settings(endpoints=("tiny",), data=data)
    with TestClient(create_app(settings, TestEngine(), two_endpoints())) as client:
        yield client


def row_of(path: str, method: str) -> str | None:
    """The table's entry for a route; the longest beginning where none is whole."""
    plain = re.sub(r":\w+}", "}", path)
    if f"{method} {plain}" in PATHS:
        return f"{method} {plain}"
    if plain in PATHS:
        return plain
    beginnings = [entry for entry in PATHS if entry.endswith("…") and plain.startswith(entry[:-1])]
    return max(beginnings, key=len, default=None)


def test_every_route_answers_strangers_as_the_table_says(client: TestClient[Litestar]) -> None:
    routes = [route for route in client.app.routes if isinstance(route, HTTPRoute)]
    assert len(routes) > 60
    asked = [(route, method) for route in routes for method in route.methods - {"OPTIONS"}]
    entries = {f"{method} {route.path}": row_of(route.path, method) for route, method in asked}
    assert [name for name, entry in entries.items() if entry is None] == []
    assert set(entries.values()) == PATHS.keys() - SOCKETS.keys(), "rows that no route has"
    wrong = {}
    for route, method in asked:
        entry = entries[f"{method} {route.path}"]
        assert entry is not None
        status = client.request(method, re.sub(r"{\w+:\w+}", "none", route.path)).status_code
        if (status == 401) != PATHS[entry].startswith("401"):
            wrong[f"{method} {route.path}"] = status
    assert wrong == {}


async def test_websockets_are_opened_to_no_stranger(client: TestClient[Litestar]) -> None:
    paths = [route.path for route in client.app.routes if isinstance(route, WebSocketRoute)]
    assert sorted(paths) == sorted(path for path in SOCKETS if PATHS[path].startswith("401"))
    for path in paths:
        assert await handshake(client.app, path) == 401


async def handshake(app: Litestar, path: str) -> int:
    """The status that a request for a WebSocket is answered with; 101 where it is opened."""
    told: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        told.append(message)

    scope: Any = {
        "type": "websocket", "path": path, "raw_path": path.encode(), "query_string": b"",
        "root_path": "", "scheme": "ws", "headers": [(b"host", b"127.0.0.1")], "subprotocols": [],
        "server": ("127.0.0.1", 80), "client": ("127.0.0.1", 1), "state": {},
        "extensions": {"websocket.http.response": {}},
    }  # fmt: skip
    await app(scope, receive, send)
    return int(told[0].get("status", 101))


def test_a_key_sees_its_own_and_an_operators_all(client: TestClient[Litestar], data: Path) -> None:
    keys = KeyStore(data)
    ann, bob = (keys.create(name, models=("tiny",)) for name in ("ann", "bob"))
    _, root = keys.create("root", operator=True)
    for _key, secret in (ann, ann, bob):
        drawn = client.post("/v1/images/generations", json={"prompt": "x"}, headers=bearer(secret))
        assert drawn.status_code == 200
    client.post("/v1/images/generations", json={"prompt": "x"})
    seen = {
        name: client.get("/status.json", headers=bearer(secret)).json()
        for name, secret in (("ann", ann[1]), ("bob", bob[1]), ("root", root))
    }
    assert [asked["key"] for asked in seen["ann"]["recent"]] == [ann[0].id] * 2
    assert [asked["key"] for asked in seen["bob"]["recent"]] == [bob[0].id]
    by_all = [asked["key"] for asked in seen["root"]["recent"]]
    assert by_all[:4] == [None, bob[0].id, ann[0].id, ann[0].id]
    assert seen["ann"]["endpoints"] == ["tiny"]
    assert {"tiny", "resampled"} <= set(seen["root"]["endpoints"])
    assert client.get("/metrics", headers=bearer(ann[1])).status_code == 403
    spoken = client.post("/v1/responses", json={"input": "x"}, headers=bearer(ann[1])).json()
    for secret, status in ((ann[1], 200), (bob[1], 404)):
        again = client.get(f"/v1/responses/{spoken['id']}", headers=bearer(secret))
        assert again.status_code == status
    assert client.get("/metrics", headers=bearer(root)).status_code == 200


def test_metrics_can_be_left_open(tmp_path: Path) -> None:
    settings = Settings(endpoints=("tiny",), data=tmp_path, host="0.0.0.0", open_metrics=True)
    client = TestClient(create_app(settings, TestEngine(), two_endpoints()))
    assert client.get("/metrics").status_code == 200
    assert client.get("/status.json").status_code == 401


def bearer(secret: str) -> dict[str, Any]:
    return {"Authorization": f"Bearer {secret}"}


def test_what_is_said_to_be_tested_is_there() -> None:
    named = re.findall(r"`(tests/[\w/.]+)`", TEXT)
    assert len(named) > 4
    assert [name for name in named if not (Path(__file__).parents[1] / name).exists()] == []
