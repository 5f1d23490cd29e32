"""HEAD says what GET would, on every route."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from gateway.app import create_app
from gateway.settings import Settings
from tests.small_engine import TestEngine
from tests.web.openai.asking import two_endpoints


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient[Litestar]]:
    settings = Settings(endpoints=("tiny",), data=tmp_path)
    with TestClient(create_app(settings, TestEngine(), two_endpoints())) as client:
        yield client


@pytest.mark.parametrize(
    "path", ["/health", "/health/ready", "/v1/models", "/v1/models/tiny:style", "/metrics", "/none"]
)
def test_head_is_get_without_its_body(client: TestClient[Litestar], path: str) -> None:
    head, got = client.head(path), client.get(path)
    assert (head.status_code, head.content) == (got.status_code, b"")
    assert head.headers["content-type"] == got.headers["content-type"]
    assert head.headers["x-request-id"]
    if path != "/metrics":
        assert head.headers["content-length"] == got.headers["content-length"]


def test_head_draws_nothing(client: TestClient[Litestar]) -> None:
    head = client.head("/v1/images/generations")
    assert (head.status_code, head.content) == (405, b"")
