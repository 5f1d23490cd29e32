"""ComfyDeploy's own SDKs, unmodified, against a gateway on a socket."""

from pathlib import Path
from typing import Any

import pytest

from tests.clients.environments import run_node, run_python
from tests.serving import Server

PROGRAMS = Path(__file__).parent / "programs"
MODEL = "tiny:ink"
OPENING = [
    ["log_update", None],
    ["event_update", "queuing"],
    ["event_update", "function_call_id"],
    ["event_update", "gpu_ready"],
]
CLOSING = [
    ["event_update", "executed"],
    ["event_update", "output_ready"],
    ["event_update", "status"],
]


def python(server: Server, environment: str, program: str, model: str = MODEL) -> Any:
    """What a program saw with one version of the SDK."""
    return run_python(environment, PROGRAMS / program, server.url, server.key, model)


@pytest.mark.parametrize("version", ["0.3.4", "0.4.1"])
def test_the_first_generation_in_python(server: Server, version: str) -> None:
    seen = python(server, f"comfydeploy-{version}", "comfydeploy_gen1.py", "tiny")
    assert seen["deployment"] == {"status": "success", "progress": 1, "pictures": ["image/png"]}
    assert (seen["batch"], seen["batch_seeds"]) == ("success", [42, 43, 44])
    assert (seen["graph"], seen["graph_text"]) == ("success", "success")
    assert "value_bigger_than_max" in seen["refusal"]
    assert (seen["workflow"], seen["workflow_outputs"]) == ("success", 1)
    assert "cats" in seen["workflows"]
    if version != "0.3.4":  # whose own objects drop every field
        assert {"tiny", MODEL} <= set(seen["deployments"])
    assert {"prompt", "seed", "num_inference_steps"} <= set(seen["inputs"])
    assert (seen["put"], seen["uploaded"], seen["edit"]) == (200, True, "success")


def test_the_second_generation_in_python(server: Server) -> None:
    seen = python(server, "comfydeploy-0.6.3", "comfydeploy_gen2.py", "tiny")
    assert seen["queue"] == {"status": "success", "progress": 1, "pictures": ["image/png"]}
    assert seen["sync"] == ["ComfyUI_00001_.png"]
    assert seen["stream"][:4] == OPENING
    assert seen["stream"][-3:] == CLOSING
    assert seen["stream"].count(["event_update", "progress"]) == 2
    assert (seen["deployment"], seen["workflow"]) == ("success", "success")
    assert (seen["created"], seen["cancel"]) == ("success", "cancelled")
    assert {True, "tiny", MODEL} <= set(seen["deployments"])
    assert {"tiny", MODEL, "slow"} <= set(seen["models"])
    assert (seen["upload"], seen["edit"]) == (["a.png", 200], "success")
    assert seen["unknown"][0] == 404


def test_the_third_generation_in_python(server: Server) -> None:
    seen = python(server, "comfydeploy-0.7.0", "comfydeploy_gen3.py")
    assert seen == {
        "status": "success",
        "progress": 1,
        "pictures": ["image/png"],
        "cancel": "cancelled",
    }


def node(server: Server, program: str) -> Any:
    """What a program saw with the npm package that it imports."""
    return run_node(PROGRAMS / program, server.url, server.key, MODEL)


def test_the_first_generation_in_javascript(server: Server) -> None:
    assert node(server, "comfydeploy_old.mjs") == {
        "status": "success",
        "pictures": ["image/png"],
        "queued": "string",
        "upload": ["download_url", "file_id", "upload_url"],
    }


def test_the_second_generation_in_javascript(server: Server) -> None:
    seen = node(server, "comfydeploy_new.mjs")
    assert (seen["status"], seen["pictures"]) == ("success", ["image/png"])
    assert (seen["sync"], seen["deployment"]) == (1, "success")
    assert seen["stream"][:4] == OPENING
    assert seen["stream"][-3:] == CLOSING
    assert {"tiny", MODEL} <= set(seen["deployments"]) & set(seen["models"])
    assert (seen["upload"], seen["edit"]) == ("a.png", "success")
