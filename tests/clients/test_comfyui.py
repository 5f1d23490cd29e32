"""ComfyUI's own clients, as they are, against a gateway on a socket."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from tests.clients.environments import run_node, run_python
from tests.clients.pictures import opened, same
from tests.images.test_decode import RED, saved
from tests.runs.graph.examples import image_to_image, text_to_image
from tests.serving import Server

PROGRAMS = Path(__file__).parent / "programs"
SAMPLING = {"steps": 3, "cfg": 1, "sampler_name": "euler", "scheduler": "normal"}
TITLES = {"3": "sampler", "9": "save", "10": "picture"}


def graphs() -> str:
    """A graph that draws and one that redraws, whose nodes have titles."""
    text = text_to_image(**SAMPLING)
    text["5"]["inputs"] = {"width": 64, "height": 64, "batch_size": 1}
    picture = image_to_image()
    picture["3"]["inputs"] |= SAMPLING
    for graph in (text, picture):
        graph["4"]["inputs"]["ckpt_name"] = "tiny.safetensors"
        for id, node in graph.items():
            node["_meta"] = {"title": TITLES.get(id, id)}
    png = base64.b64encode(saved(RED.resize((64, 64)), "PNG")).decode()
    return json.dumps({"text": text, "picture": picture, "png": png})


@pytest.fixture(scope="module")
def simplified(server: Server) -> Any:
    """What comfy-api-simplified got."""
    program = PROGRAMS / "comfyui_simplified.py"
    return run_python("comfyui", program, server.url, server.key, graphs())


@pytest.fixture(scope="module")
def sdk(server: Server) -> Any:
    """What @saintno/comfyui-sdk got."""
    return run_node(PROGRAMS / "comfyui_sdk.mjs", server.url, server.key, graphs())


def test_comfy_api_simplified_draws_and_redraws(simplified: Any) -> None:
    (drawn,), (redrawn,) = simplified["drawn"].values(), simplified["redrawn"].values()
    assert opened(drawn).size == opened(redrawn).size == (64, 64)
    assert not same(opened(drawn), opened(redrawn))
    assert simplified["uploaded"] == {"name": "red.png", "subfolder": "mine", "type": "input"}
    assert simplified["queue"] == {"queue_running": [], "queue_pending": []}


def test_comfy_api_simplified_is_told_what_there_is(simplified: Any) -> None:
    sampler = simplified["sampler"]["KSampler"]["input"]["required"]
    assert "euler" in sampler["sampler_name"][0]
    assert sampler["steps"][:1] == ["INT"]
    loader = simplified["checkpoints"]["CheckpointLoaderSimple"]["input"]["required"]
    assert {"tiny", "slow"} <= set(loader["ckpt_name"][0])
    assert simplified["system"]["devices"]
    assert simplified["embeddings"] == []
    assert simplified["interrupted"] is None


def test_comfy_api_simplified_is_refused(simplified: Any) -> None:
    assert "400" in simplified["refused"]
    assert "401" in simplified["stranger"]


def test_the_sdk_draws_with_progress(sdk: Any) -> None:
    (drawn,), (redrawn,) = sdk["text"]["pictures"], sdk["picture"]["pictures"]
    assert opened(drawn).size == opened(redrawn).size == (64, 64)
    assert not same(opened(drawn), opened(redrawn))
    kinds = set(sdk["events"])
    assert {"status", "execution_start", "executing", "execution_success"} <= kinds
    assert sdk["history"] == [{**status, "completed": True} for status in sdk["history"]]
    assert len(sdk["history"]) == 2


def test_the_sdk_is_told_what_there_is(sdk: Any) -> None:
    assert {"tiny", "slow"} <= set(sdk["checkpoints"])
    assert sdk["folder"] == sdk["checkpoints"]
    assert sdk["loras"] == ["ink"]
    assert "euler" in sdk["samplers"]["sampler"][0]
    assert sdk["stats"]["system"]["comfyui_version"].startswith("image-gateway")
    assert sdk["extensions"] == []
    assert sdk["freed"] is True
    assert sdk["queue"] == {"queue_running": [], "queue_pending": []}


def test_the_sdk_is_told_why_a_graph_is_refused(sdk: Any) -> None:
    cause = sdk["refused"]["cause"]
    assert cause["error"]["type"] == "prompt_outputs_failed_validation"
    assert cause["node_errors"]["3"]["class_type"] == "KSampler"
