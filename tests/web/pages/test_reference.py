"""The reference page tells every served operation and fetches nothing."""

import re
from collections.abc import Iterator
from html import escape
from pathlib import Path
from urllib.parse import urljoin

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from gateway.app import create_app
from gateway.settings import Settings
from gateway.web.pages.reference import page
from tests.small_engine import TestEngine, small_catalog

Client = TestClient[Litestar]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    data: Path = tmp_path_factory.mktemp("data")
    with TestClient(create_app(Settings(data=data), TestEngine(), small_catalog())) as client:
        yield client


def test_every_operation_of_the_document_is_on_the_page(client: Client) -> None:
    document = client.get("/schema/openapi.json").json()
    answer = client.get("/schema")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    for path, item in document["paths"].items():
        assert f"<code>{path}</code>" in answer.text
        for operation in item.values():
            assert escape(operation.get("description", "")[:40]) in answer.text
    assert "guidance_scale" in answer.text


def test_what_it_links_to_is_there_under_any_path(client: Client) -> None:
    for path in ("/schema", "/schema/reference", "/schema/"):
        (link,) = re.findall(r'href="([^"]+)"', client.get(path).text)
        assert urljoin(f"https://a.example/gw{path}", link) == (
            "https://a.example/gw/schema/openapi.json"
        )
    (server,) = client.get("/schema/openapi.json").json()["servers"]
    base = urljoin("https://a.example/gw/schema/openapi.json", server["url"])
    assert base == "https://a.example/gw/"


@pytest.mark.parametrize("path", ["/openapi.json", "/v1/openapi.json"])
def test_the_document_is_where_clients_look_for_it(client: Client, path: str) -> None:
    document = client.get(path).json()
    asked = client.get("/schema/openapi.json").json()
    assert document["paths"] == asked["paths"]
    (server,) = document["servers"]
    assert urljoin(f"https://a.example/gw{path}", server["url"]) == "https://a.example/gw/"


def test_the_page_fetches_and_runs_nothing(client: Client) -> None:
    text = client.get("/schema").text
    assert not re.search(r"<script|<link|<img|\bsrc=|https?://", text)
    assert "default-src 'none'" in text


def test_what_a_document_says_is_text_and_not_markup() -> None:
    document = {
        "info": {"title": "<b>", "version": "1", "description": "<script>"},
        "paths": {
            "/a": {
                "post": {
                    "description": "<i>",
                    "requestBody": {
                        "content": {
                            "application/json": {"schema": {"$ref": "#/components/schemas/A"}}
                        }
                    },
                    "responses": {},
                }
            }
        },
        "components": {
            "schemas": {
                "A": {
                    "required": ["n"],
                    "properties": {"n": {"type": "integer", "minimum": 1, "description": "<u>"}},
                }
            }
        },
    }
    text = page(document, "a")
    assert not re.search(r"<b>|<script>|<i>|<u>", text)
    assert "n (required)" in text
    assert "integer, ≥ 1" in text
