"""The pages are served whole, closed to the outside, and cheap to ask for again."""

import re
from collections.abc import Iterator

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from gateway.web.pages.pages import ASSETS, PAGES


@pytest.fixture
def client() -> Iterator[TestClient[Litestar]]:
    with TestClient(Litestar([*PAGES])) as client:
        yield client


@pytest.mark.parametrize("path", ["/", "/runs", "/status"])
def test_a_page_allows_only_its_own_origin(client: TestClient[Litestar], path: str) -> None:
    response = client.get(path)
    policy = response.headers["content-security-policy"]
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert policy.startswith("default-src 'none';")
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert "http" not in policy


@pytest.mark.parametrize("path", ["/", "/runs", "/status"])
def test_every_file_a_page_names_is_served(client: TestClient[Litestar], path: str) -> None:
    html = client.get(path).text
    files = re.findall(r'(?:href|src)="(page/[^"]+)"', html)
    assert files
    for file in files:
        assert client.get(f"/{file}").status_code == 200


@pytest.mark.parametrize("name", [name for name in ASSETS if name.endswith(".js")])
def test_every_module_a_module_imports_is_served(client: TestClient[Litestar], name: str) -> None:
    response = client.get(f"/page/{name}")
    assert response.headers["content-type"] == "text/javascript; charset=utf-8"
    for imported in re.findall(r"from '\./([^']+)'", response.text):
        assert imported in ASSETS


@pytest.mark.parametrize("name", ASSETS)
def test_no_file_names_another_origin_or_carries_code_in_markup(name: str) -> None:
    text = ASSETS[name].content.decode()
    origins = set(re.findall(r"https?://[\w.:-]+", text))
    assert origins <= {"http://www.w3.org"}, "only SVG's namespace, which nothing fetches"
    assert not re.search(r"<script(?![^>]*\bsrc=)|\son\w+=|\sstyle=|innerHTML|\beval\(", text)


def test_a_page_known_by_its_etag_is_not_sent_again(client: TestClient[Litestar]) -> None:
    first = client.get("/page/base.css")
    etag = first.headers["etag"]
    again = client.get("/page/base.css", headers={"If-None-Match": f'"other", {etag}'})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == etag
    changed = client.get("/page/base.css", headers={"If-None-Match": '"other"'})
    assert changed.content == first.content


@pytest.mark.parametrize("path", ["/page/page.py", "/page/..%2Fpage.py", "/page/%2e%2e/faults.py"])
def test_nothing_beside_the_pages_is_served(client: TestClient[Litestar], path: str) -> None:
    assert client.get(path).status_code == 404
