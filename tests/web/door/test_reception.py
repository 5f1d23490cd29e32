"""Requests taken out of what they come wrapped in: packing, sub-paths, blanks, broken uploads."""

import gzip
import zlib
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from litestar import Request
from litestar.testing import TestClient

from gateway.app import create_app
from gateway.settings import Settings
from gateway.web.door.addresses import public_base
from gateway.web.door.reception import MAX_PAIRS, Reception
from tests.small_engine import TestEngine, small_catalog
from tests.web.openai.asking import PATH, Client, refused

BODY = msgspec.json.encode({"prompt": "a cat", "size": "64x64", "response_format": "url"})
PACKED = gzip.compress(BODY, mtime=0)
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    settings = Settings(
        endpoints=("tiny",),
        data=tmp_path_factory.mktemp("data"),
        max_body_mib=0.5,
        public_url="https://images.example/gw",
    )
    with TestClient(create_app(settings, TestEngine(), small_catalog())) as client:
        yield client


def bare(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def sent(client: Client, encoding: str, content: bytes) -> Any:
    return client.post(PATH, content=content, headers={**JSON, "content-encoding": encoding})


@pytest.mark.parametrize(
    ("encoding", "content"),
    [
        ("gzip", PACKED),
        ("GZIP", gzip.compress(BODY[:9], mtime=0) + gzip.compress(BODY[9:], mtime=0)),
        ("x-gzip", PACKED),
        ("deflate", zlib.compress(BODY)),
        ("deflate", bare(BODY)),
        ("identity", BODY),
        ("identity, gzip", PACKED),
        ("", BODY),
    ],
)
def test_packed_bodies_are_unpacked(client: Client, encoding: str, content: bytes) -> None:
    answer = sent(client, encoding, content)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "gzip, br", "compress"])
def test_other_packings_are_refused_by_name(client: Client, encoding: str) -> None:
    answer = sent(client, encoding, BODY)
    said = refused(answer, 415, "unsupported_content_type", None)
    assert "gzip or deflate" in said
    assert answer.headers["accept-encoding"] == "gzip, deflate"


@pytest.mark.parametrize("content", [BODY, PACKED[:-9], PACKED + b"x"])
def test_what_is_not_packed_as_it_says(client: Client, content: bytes) -> None:
    refused(sent(client, "gzip", content), 400, "invalid_value", None)


def test_a_bomb_is_unpacked_no_further_than_the_bound(client: Client) -> None:
    bomb = gzip.compress(b" " * 2**26)
    assert len(bomb) < 2**17
    refused(sent(client, "gzip", bomb), 413, "request_too_large", None)


def test_a_sub_path_is_answered_as_the_root_is(client: Client) -> None:
    given = client.post(f"/gw{PATH}", content=BODY, headers=JSON).json()["data"][0]["url"]
    assert given.startswith("https://images.example/gw/files/")
    for base in ("", "/gw"):
        picture = client.get(base + given.removeprefix("https://images.example/gw"))
        assert picture.headers["content-type"] == "image/png"
    assert client.get("/gw/api/nowhere").json()["detail"]
    assert client.get("/gw/").headers["content-type"].startswith("text/html")


async def test_a_server_may_mount_it() -> None:
    bases = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        bases.append((scope["path"], public_base(Request(scope), Settings())))

    scope: Any = {
        "type": "http", "method": "GET", "path": "/under/v1/models", "root_path": "/under",
        "headers": [(b"host", b"a.example")], "query_string": b"", "scheme": "https",
    }  # fmt: skip
    await Reception(app, None, ())(scope, nothing, nothing)
    await Reception(app, None, ())(scope | {"path": "/v1/models"}, nothing, nothing)
    assert bases == [("/v1/models", "https://a.example/under")] * 2


async def nothing(*_: Any) -> Any:
    raise AssertionError("nothing is read or sent")


@pytest.mark.parametrize("value", ["", "null", "undefined", "%20", "None"])
def test_absent_values_of_a_query(client: Client, value: str) -> None:
    for name in ("limit", "after", "purpose", "order"):
        answer = client.get(f"/v1/files?{name}={value}")
        assert answer.status_code == 200, answer.text
    assert client.get("/v1/files?limit=%204%20&order=ASC").status_code == 200
    assert client.get("/v1/files?limit=%D9%A3").status_code == 400
    assert client.get(f"/v1/files?{'a=b&' * MAX_PAIRS}limit=0").status_code == 200


async def test_an_upload_that_is_broken_off_is_no_fault(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    status = []
    messages = [
        {"type": "http.request", "body": BODY[:9], "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Any:
        return messages.pop(0) if len(messages) > 1 else messages[0]

    async def send(message: Any) -> None:
        status.append(message.get("status"))

    scope: Any = {
        "type": "http", "method": "POST", "path": PATH, "raw_path": PATH.encode(), "scheme": "http",
        "query_string": b"", "root_path": "", "headers": [(b"content-type", b"application/json")],
        "server": ("127.0.0.1", 80), "client": ("127.0.0.1", 1), "http_version": "1.1",
        "asgi": {"version": "3.0"},
    }  # fmt: skip
    await client.app(scope, receive, send)
    assert status[0] == 499
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
