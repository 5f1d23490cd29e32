"""The route of MCP where its SDK is not installed."""

import sys
from pathlib import Path

import pytest
from litestar.testing import TestClient

from gateway.app import create_app
from gateway.settings import Settings
from tests.small_engine import TestEngine, small_catalog


def test_without_its_extra_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith(("mcp.", "gateway.web.mcp.s"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("gateway.web.mcp.server", raising=False)  # the package has it as well
    monkeypatch.setitem(sys.modules, "mcp", None)
    settings = Settings(endpoints=("tiny",), data=tmp_path)
    with TestClient(create_app(settings, TestEngine(), small_catalog())) as client:
        answer = client.post("/mcp", json={})
    assert answer.status_code == 501
    assert "image-gateway[mcp]" in answer.json()["error"]["message"]
