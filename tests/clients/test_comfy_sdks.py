"""Comfy's own SDKs, unmodified, against a gateway on a socket."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.clients.environments import run_node, run_python
from tests.clients.pictures import fetched
from tests.serving import Server
from tests.web.comfyapi.app import graph

PROGRAMS = Path(__file__).parent / "programs"
PNG = b"\x89PNG".hex()
ENDING = ["OutputReady", "Log", "StatusChange"]


@pytest.fixture(scope="module")
def seen(server: Server) -> Any:
    """What the synchronous client saw."""
    return run_python("comfy", PROGRAMS / "comfy_sdk_sync.py", server.url, server.key, "tiny")


def test_jobs_in_python(seen: Any) -> None:
    assert seen["job"] == ["succeeded", "c_00001_.png", "image/png", "image"]
    assert (seen["whole"], seen["range"]) == (True, True)
    assert fetched(seen["link"]).size == (64, 64)
    assert seen["workflow"] == ["api", ["3", "4", "5", "6", "7", "8", "9"]]
    assert (seen["listed"], seen["pages"], seen["labels"]) == ([True], True, {"client": "acme"})


def test_events_in_python(seen: Any) -> None:
    assert seen["events"][0] == "StatusChange"
    assert seen["events"][-3:] == ENDING
    assert seen["last"] == "succeeded"
    assert seen["progress"] == [7, "3"]
    assert seen["made"] == PNG


def test_repeated_and_cancelled_jobs_in_python(seen: Any) -> None:
    assert (seen["again"], seen["reuse"]) == (True, "IdempotencyKeyReuse")
    assert (seen["cancel"], seen["cancelled"]) == ("canceled", "canceled")
    assert seen["result"] == "JobFailed"


def test_assets_in_python(seen: Any) -> None:
    assert seen["edit"] == "succeeded"
    assert seen["assets"] == [True, False, True, True]
    assert (seen["asset"], seen["deleted"]) == ("a.png", "NotFound")
    assert seen["refused"] == ["InvalidWorkflow", "MissingAsset", "NotFound", "Unauthorized"]


def test_models_in_python(seen: Any) -> None:
    assert (seen["model"], seen["queued"], seen["stopped"]) == (3, 3, "Cancelled")
    assert {"local/tiny", "local/tiny:ink", "local/slow"} <= set(seen["catalogue"])
    assert (seen["schema"], seen["unknown"]) == (True, "ModelNotFound")


def test_the_asynchronous_client(server: Server) -> None:
    text = json.dumps(graph())
    seen: Any = run_python("comfy", PROGRAMS / "comfy_sdk_async.py", server.url, server.key, text)
    assert seen["events"][-3:] == ENDING
    assert seen["job"] == ["succeeded", PNG]
    assert (seen["listed"], seen["asset"], seen["model"]) == ([True], True, 4)
    assert seen["second"] == "succeeded"


def test_the_package_for_javascript(server: Server) -> None:
    text = json.dumps(graph(seed=8))
    seen: Any = run_node(PROGRAMS / "comfy_sdk.mjs", server.url, server.key, text)
    assert seen["job"] == ["succeeded", "ComfyUI_00001_.png", "image/png", True]
    assert (seen["range"], seen["workflow"]) == (PNG, "api")
    assert seen["events"][-3:] == ["outputReady", "log", "statusChange"]
    assert (seen["resumed"], seen["again"]) == ("succeeded", True)
    assert (seen["reuse"], seen["cancel"]) == ("IdempotencyKeyReuse", "canceled")
    assert (seen["failed"], seen["edit"], seen["assets"]) == (
        "JobFailed", "succeeded", [True, False]
    )
    assert (seen["deleted"], seen["unknown"], seen["model"]) == ("NotFound", "NotFound", 5)
