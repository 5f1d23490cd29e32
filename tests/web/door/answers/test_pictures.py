"""A picture's URL opens it for anyone until it expires; nothing else opens anything."""

import asyncio
import base64
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from gateway.app import create_app
from gateway.images.encode import Format
from gateway.images.store import PictureStore
from gateway.settings import Settings
from tests.small_engine import TestEngine
from tests.web.openai.asking import two_endpoints

PICTURES: dict[Format, bytes] = {
    "png": b"\x89PNG picture",
    "jpeg": b"\xff\xd8 picture",
    "webp": b"RIFF picture",
}


@pytest.fixture
def store(tmp_path: Path) -> PictureStore:
    return PictureStore(Settings(data=tmp_path))


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient[Litestar]]:
    settings = Settings(endpoints=("tiny",), data=tmp_path)
    with TestClient(create_app(settings, TestEngine(), two_endpoints())) as client:
        yield client


def url_of(store: PictureStore, format: Format) -> str:
    return store.url_path(asyncio.run(store.put(PICTURES[format], format)))


@pytest.mark.parametrize("format", PICTURES)
def test_a_url_answers_its_picture_with_its_type(
    client: TestClient[Litestar], store: PictureStore, format: Format
) -> None:
    answer = client.get(url_of(store, format))
    assert answer.status_code == 200
    assert answer.content == PICTURES[format]
    assert answer.headers["content-type"] == f"image/{format}"
    assert "max-age=3" in answer.headers["cache-control"]
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_head_answers_the_same_without_the_bytes(
    client: TestClient[Litestar], store: PictureStore
) -> None:
    url = url_of(store, "png")
    head, got = client.head(url), client.get(url)
    assert head.status_code == 200
    assert head.content == b""
    for name in ("content-type", "content-length"):
        assert head.headers[name] == got.headers[name]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("signature=", "signature=0"),
        ("signature=", "signature=%C3%A4"),
        ("signature=", "s="),
        ("expires=", "expires=1"),
        ("expires=", "expires=" + "9" * 5000),
        ("expires=", "expires=-"),
        (".png", ".webp"),
        (".png", ".svg"),
        ("/files/", "/files/%00"),
        ("/files/", "/files/..%2F"),
    ],
)
def test_a_changed_url_answers_404_in_the_envelope(
    client: TestClient[Litestar], store: PictureStore, old: str, new: str
) -> None:
    answer = client.get(url_of(store, "png").replace(old, new))
    assert answer.status_code == 404
    assert PICTURES["png"] not in answer.content
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_an_expired_url_says_so(client: TestClient[Litestar], tmp_path: Path) -> None:
    brief = PictureStore(Settings(data=tmp_path, url_minutes=0.0001))
    answer = client.get(url_of(brief, "png"))
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "url_expired"


def test_a_swept_picture_reads_as_expired(
    client: TestClient[Litestar], store: PictureStore
) -> None:
    answer = client.get(store.url_path("0" * 32 + ".png"))
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "url_expired"


@pytest.fixture
def storeless(tmp_path: Path) -> Iterator[TestClient[Litestar]]:
    """A gateway whose store took something at start and takes nothing any more."""
    place = tmp_path / "store"
    settings = Settings(endpoints=("tiny",), data=tmp_path / "data", store=str(place))
    with TestClient(create_app(settings, TestEngine(), two_endpoints())) as client:
        shutil.rmtree(place)
        place.write_text("no folder")
        yield client


def test_a_picture_that_the_answer_carries_is_not_lost_with_the_store(
    storeless: TestClient[Litestar],
) -> None:
    asked = {"prompt": "a cat", "n": 2}
    answer = storeless.post("/v1/images/generations", json=asked)
    assert answer.status_code == 200
    for item in answer.json()["data"]:
        assert "url" not in item
        assert base64.b64decode(item["b64_json"]).startswith(b"\x89PNG")
    for more in ({"stream": True}, {"response_format": "b64_json"}):
        assert storeless.post("/v1/images/generations", json=asked | more).status_code == 200
    health = storeless.get("/health").json()
    assert health["checks"]["store"] == "It could not be stored: Not a directory."


@pytest.mark.parametrize("path", ["/v1/images/generations", "/dedicated/v1/images/generations"])
def test_a_url_that_cannot_be_given_is_said_so_once(
    storeless: TestClient[Litestar], path: str
) -> None:
    asked = {"prompt": "a cat", "response_format": "url", "model": "tiny"}
    answer = storeless.post(path, json=asked)
    assert answer.status_code == 507
    assert answer.headers["x-should-retry"] == "false"
    assert answer.json()["error"]["code"] == "not_stored"


def test_a_store_that_cannot_be_read_is_no_missing_picture(
    storeless: TestClient[Litestar], tmp_path: Path
) -> None:
    (tmp_path / "store").unlink()
    (tmp_path / "store").mkdir()
    url = storeless.post("/v1/images/generations", json={"prompt": "a"}).json()["data"][0]["url"]
    shutil.rmtree(tmp_path / "store")
    (tmp_path / "store").write_text("no folder")
    answer = storeless.get(url)
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) >= 1
