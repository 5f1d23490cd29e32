"""webuiapi, which knows no server but AUTOMATIC1111, against a gateway on a socket."""

from pathlib import Path
from typing import Any

import pytest

from tests.clients.environments import run_python
from tests.clients.pictures import opened, same
from tests.serving import Server

PROGRAM = Path(__file__).parent / "programs" / "webui.py"


@pytest.fixture(scope="module")
def got(server: Server) -> Any:
    """What it got."""
    return run_python("webui", PROGRAM, server.url, server.key)


def test_it_draws_with_and_without_an_adapter(got: Any) -> None:
    (plain,), (inked,) = (list(map(opened, got[name])) for name in ("plain", "inked"))
    assert plain.size == (64, 64)
    assert not same(plain, inked)
    assert (got["info"]["seed"], got["info"]["steps"], got["parameters"]) == (7, 10, 20)
    assert "10, the most" in got["info"]["extra_generation_params"]["num_inference_steps"]
    assert got["info"]["infotexts"] == [got["png_info"]]
    assert got["png_info"].startswith("a red apple\n")


def test_it_redraws_under_a_mask(got: Any) -> None:
    (plain,), redrawn = (list(map(opened, got[name])) for name in ("plain", "redrawn"))
    assert [one.size for one in redrawn] == [(64, 64)] * 2
    assert not same(redrawn[0], redrawn[1])
    assert not same(plain, redrawn[0])


def test_it_looks_up_what_there_is_and_chooses(got: Any) -> None:
    assert got["models"] == ["slow", "tiny", "tiny:ink"]
    assert got["chosen"] == "slow"
    assert {"Euler", "Euler a", "DDIM"} <= set(got["samplers"])
    assert "karras" in got["schedulers"]
    assert got["loras"] == ["ink"]
    assert got["embeddings"]["loaded"] == {}
    assert (got["ready"], got["stopped"]) == (0.0, [{}, {}])
    assert got["refused"][0] == 404
    assert "gone" in got["refused"][1]
