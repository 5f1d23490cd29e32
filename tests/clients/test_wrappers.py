"""LiteLLM and LangChain's image wrapper, as they are, against a gateway on a socket."""

from pathlib import Path
from typing import Any

import pytest

from tests.clients.environments import run_python
from tests.clients.pictures import fetched, opened, same
from tests.serving import Server

PROGRAMS = Path(__file__).parent / "programs"


@pytest.fixture(scope="module")
def got(server: Server) -> Any:
    """What both got."""
    return run_python("wrappers", PROGRAMS / "wrappers.py", server.url, server.key)


def test_litellm_gets_both_forms(got: Any) -> None:
    assert len(got["litellm"]) == 2
    for item in got["litellm"]:
        assert same(fetched(item["url"]), opened(item["b64_json"]))


def test_litellm_gets_the_form_it_asks_for(got: Any) -> None:
    (item,) = got["litellm_data"]
    assert item["url"] is None
    assert opened(item["b64_json"]).size == (64, 64)


def test_litellm_tells_an_unknown_model(got: Any) -> None:
    assert got["litellm_refused"] == 404


def test_langchain_gets_urls(got: Any) -> None:
    assert len(got["langchain"]) == 2
    assert {fetched(url).size for url in got["langchain"]} == {(64, 64)}


def test_litellms_proxy_hands_pictures_on(server: Server) -> None:
    got: Any = run_python("wrappers", PROGRAMS / "litellm_proxy.py", server.url, server.key)
    (picture,) = got["pictures"]
    assert same(fetched(picture["url"]), opened(picture["b64_json"]))
