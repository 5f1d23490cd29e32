"""Frameworks for agents, which know no way to a picture but a tool of OpenAI's Responses."""

from pathlib import Path
from typing import Any

import pytest

from tests.clients.environments import run_node, run_python
from tests.clients.pictures import opened
from tests.serving import Server

PROGRAMS = Path(__file__).parent / "programs"


@pytest.fixture(scope="module")
def got(server: Server) -> Any:
    """What each got."""
    return run_python("agents", PROGRAMS / "frameworks.py", server.url, server.key)


@pytest.mark.parametrize(
    ("framework", "count"), [("openai_agents", 2), ("pydantic_ai", 1), ("langchain", 2)]
)
def test_a_framework_gets_its_pictures(got: Any, framework: str, count: int) -> None:
    assert [opened(picture).size for picture in got[framework]] == [(64, 64)] * count


def test_langchain_for_javascript_gets_its_picture(server: Server) -> None:
    got: Any = run_node(PROGRAMS / "langchain.mjs", server.url, server.key)
    (picture,) = got["pictures"]
    assert opened(picture).size == (64, 64)
