"""OpenAI's Node SDK and Vercel's AI SDK, as they are, against a gateway on a socket."""

from pathlib import Path
from typing import Any

import pytest

from tests.clients.environments import run_node
from tests.clients.pictures import fetched, opened, same
from tests.serving import Server

PROGRAMS = Path(__file__).parent / "programs"


@pytest.fixture(scope="module")
def node(server: Server) -> Any:
    """What OpenAI's Node SDK got."""
    return run_node(PROGRAMS / "openai_node.mjs", server.url, server.key)


@pytest.fixture(scope="module")
def ai_sdk(server: Server) -> Any:
    """What the AI SDK got."""
    return run_node(PROGRAMS / "ai_sdk.mjs", server.url, server.key)


def test_node_gets_urls_and_data(node: Any) -> None:
    items = node["both"]["data"]
    assert len(items) == 2
    for item in items:
        assert same(fetched(item["url"]), opened(item["b64_json"]))


def test_node_streams(node: Any) -> None:
    *partial, last = node["previews"]
    assert [event["type"] for event in partial] == ["image_generation.partial_image"] * 2
    assert last["type"] == "image_generation.completed"
    assert opened(last["b64_json"]).size == (64, 64)


def test_node_lists_models(node: Any) -> None:
    assert {"tiny", "tiny:ink", "dall-e-3"} <= set(node["models"])
    assert node["model"]["id"] == "tiny:ink"


def test_node_tells_what_was_wrong(node: Any) -> None:
    kinds = {name: node[name] for name in ("badKey", "badModel", "badCount")}
    assert all(error.pop("requestId") for error in kinds.values())
    assert kinds == {
        "badKey": {"kind": "AuthenticationError", "status": 401, "code": "invalid_api_key",
                   "param": None},
        "badModel": {"kind": "NotFoundError", "status": 404, "code": "model_not_found",
                     "param": "model"},
        "badCount": {"kind": "BadRequestError", "status": 400,
                     "code": "integer_above_max_value", "param": "n"},
    }


def test_the_ai_sdks_own_provider(ai_sdk: Any) -> None:
    one, other = (opened(data) for data in ai_sdk["named"])
    assert one.size == other.size == (64, 64)
    assert not same(one, other)
    assert opened(ai_sdk["alias"][0]).size == (64, 64)


def test_the_ai_sdks_compatible_provider(ai_sdk: Any) -> None:
    first, second = ([opened(data) for data in ai_sdk[name]] for name in ("first", "second"))
    assert len(first) == 3
    assert all(map(same, first, second))
    assert not same(first[0], first[1])


def test_the_ai_sdk_tells_what_was_wrong(ai_sdk: Any) -> None:
    assert ai_sdk["refused"]["status"] == 404
    assert "none" in ai_sdk["refused"]["message"]


def test_node_talks_and_goes_on(node: Any) -> None:
    (first,), (second,), (spoken,) = (node[name] for name in ("said", "goneOn", "spoken"))
    assert opened(first).size == opened(spoken).size == (64, 64)
    assert not same(opened(first), opened(second))
    assert "response.image_generation_call.partial_image" in node["told"]
    assert node["told"][-1] == "response.completed"
    assert node["usage"]["output_tokens"] == 16


def test_node_sets_a_webhook_endpoint_up(node: Any) -> None:
    hooks = node["hooks"]
    assert hooks["made"]["signing_secret"].startswith("whsec_")
    assert hooks["made"]["id"] in hooks["listed"]
    assert hooks["forgotten"]["deleted"] is True


def test_the_ai_sdks_tool_draws(ai_sdk: Any) -> None:
    (drawn,) = ai_sdk["tool"]
    assert opened(drawn).size == (64, 64)
    assert ai_sdk["words"].startswith("![image](")
