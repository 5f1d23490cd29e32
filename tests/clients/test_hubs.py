"""Hugging Face's and Together's clients, as they are, against a gateway on a socket."""

from pathlib import Path
from typing import Any

import pytest

from tests.clients.environments import run_python
from tests.clients.pictures import fetched, opened, same
from tests.serving import Server

PROGRAM = Path(__file__).parent / "programs" / "hubs.py"


@pytest.fixture(scope="module")
def got(server: Server) -> Any:
    """What both got."""
    return run_python("hubs", PROGRAM, server.url, server.key)


def test_hugging_faces_client_draws_and_redraws(got: Any) -> None:
    drawn, bare, redrawn = map(opened, got["hugging_face"]["pictures"])
    assert drawn.size == bare.size == redrawn.size == (64, 64)
    assert not same(drawn, redrawn)
    assert got["hugging_face"]["refused"] == 404


def test_togethers_client_draws_and_redraws(got: Any) -> None:
    drawn, redrawn = map(opened, got["together"]["pictures"])
    assert not same(drawn, redrawn)
    assert [fetched(url).size for url in got["together"]["urls"]] == [(64, 64)] * 2
    assert got["together"]["refused"] == 404
