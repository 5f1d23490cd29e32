"""Agents' tools, called by MCP's own client over a socket."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import httpx
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from PIL import Image

from gateway.accounts.keys import KeyStore
from gateway.app import create_app
from gateway.outside.inline import inline_bytes
from gateway.settings import Settings
from tests.runs.house import until
from tests.serving import listening
from tests.small_engine import TestEngine, small_catalog

Era = Literal["legacy", "auto"]
ERAS: tuple[Era, ...] = ("legacy", "auto")
"""Sessions that are begun by a handshake, and requests that stand alone."""


class Place:
    """A gateway on a socket, and the keys that it knows."""

    def __init__(self, url: str, engine: TestEngine, keys: tuple[str, str]) -> None:
        self.url, self.engine, self.keys = url, engine, keys

    @asynccontextmanager
    async def client(self, era: Era = "auto", key: int = 0) -> AsyncIterator[Client]:
        bearer = {"Authorization": f"Bearer {self.keys[key]}"}
        async with httpx2.AsyncClient(headers=bearer, timeout=30) as http:
            transport = streamable_http_client(f"{self.url}/mcp", http_client=http)
            async with Client(transport, mode=era) as client:
                yield client


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    data: Path = tmp_path_factory.mktemp("data")
    keys = KeyStore(data)
    secrets = keys.create("ann")[1], keys.create("bob", models=("slow",))[1]
    engine = TestEngine()
    app = create_app(Settings(endpoints=("tiny",), data=data), engine, small_catalog())
    with listening(app) as url:
        yield Place(url, engine, secrets)


def picture(content: Any) -> Image.Image:
    """A picture as an agent sees it."""
    assert content.type == "image"
    return Image.open(BytesIO(inline_bytes(content.data, "data")))


@pytest.mark.parametrize("era", ERAS)
async def test_a_picture_is_drawn_and_its_steps_are_told(place: Place, era: Era) -> None:
    told: list[tuple[float, float | None, str | None]] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        told.append((progress, total, message))

    asked = {"prompt": "a cat", "n": 2, "seed": 258, "steps": 3, "quality": "hd"}
    async with place.client(era) as client:
        answer = await client.call_tool("generate_image", asked, progress_callback=on_progress)
        await until(lambda: _true(len(told) == 6))
    assert told == [(step, 6, f"step {step} of 6") for step in range(1, 7)]
    assert not answer.is_error
    first, second, text = answer.content
    assert picture(first).getpixel((0, 0)) == (2, 1, 0)
    assert picture(second).getpixel((0, 0)) == (3, 1, 0)
    facts = answer.structured_content
    assert [image["seed"] for image in facts["images"]] == [258, 259]
    assert [warning["param"] for warning in facts["warnings"]] == ["quality"]
    url = facts["images"][0]["url"]
    assert url in getattr(text, "text", "")
    assert httpx.get(url).content == inline_bytes(getattr(first, "data", ""), "data")


async def _true(value: bool) -> bool:
    return value


@pytest.mark.parametrize("era", ERAS)
async def test_who_cancels_ends_the_work(place: Place, era: Era) -> None:
    engine = place.engine
    closed = engine.num_closed
    asked = {"prompt": "a slow cat", "model": "slow", "steps": 2000}
    async with place.client(era) as client:
        call = asyncio.create_task(client.call_tool("generate_image", asked))
        await until(lambda: _true(engine.num_running == 1))
        call.cancel()
        await until(lambda: _true(engine.num_running == 0))
        assert engine.num_closed == closed + 1
        again = await client.call_tool("generate_image", {"prompt": "a cat"})
        assert not again.is_error


async def test_a_picture_is_edited(place: Place) -> None:
    async with place.client() as client:
        drawn = await client.call_tool("generate_image", {"prompt": "a cat"})
        data = getattr(drawn.content[0], "data", "")
        url = drawn.structured_content["images"][0]["url"]
        for image in (data, f"data:image/png;base64,{data}", url):
            asked = {"prompt": "a dog", "image": image, "strength": 0.5, "output_format": "jpeg"}
            edited = await client.call_tool("edit_image", asked)
            assert not edited.is_error, edited.content
            assert getattr(edited.content[0], "mime_type", "") == "image/jpeg"
            assert len(place.engine.jobs[-1].images) == 1


async def test_tools_and_models_are_listed(place: Place) -> None:
    async with place.client() as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert tools.keys() == {"generate_image", "edit_image", "list_models"}
        assert tools["edit_image"].input_schema["required"] == ["image", "prompt"]
        models = (await client.call_tool("list_models", {})).structured_content["models"]
        assert [model["id"] for model in models] == ["tiny", "tiny:style", "slow", "editor"]
        assert models[0]["steps"] == {"min": 1, "max": 10, "default": 4}
    async with place.client(key=1) as client:
        models = (await client.call_tool("list_models", {})).structured_content["models"]
        assert [model["id"] for model in models] == ["slow"]


async def test_a_tool_says_what_is_wrong(place: Place) -> None:
    wrong: list[tuple[str, dict[str, Any], str]] = [
        ("generate_image", {}, "prompt"),
        ("generate_image", {"prompt": "a", "model": "none"}, "none"),
        ("generate_image", {"prompt": "a", "n": 5}, "1 to 4"),
        ("generate_image", {"prompt": "a", "output_format": "bmp"}, "bmp"),
        ("generate_image", {"prompt": "fail"}, "raised"),
        ("edit_image", {"prompt": "a"}, "image"),
        ("edit_image", {"prompt": "a", "image": "data:image/png;base64,eA=="}, "image"),
        ("nonesuch", {}, "generate_image"),
    ]
    async with place.client("legacy") as client:
        for name, asked, why in wrong:
            answer = await client.call_tool(name, asked)
            assert answer.is_error
            assert why in getattr(answer.content[0], "text", ""), (name, asked, answer.content)
    async with place.client(key=1) as client:
        answer = await client.call_tool("generate_image", {"prompt": "a", "model": "tiny"})
        assert answer.is_error


def test_a_session_is_its_keys_alone(place: Place) -> None:
    begin = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"},
        },
    }
    kinds = {
        "Accept": "application/json, text/event-stream",
        "Content-Type": "application/json",
    }
    url = f"{place.url}/mcp"
    assert httpx.post(url, json=begin, headers=kinds).status_code == 401
    ann, bob = ({"Authorization": f"Bearer {key}"} | kinds for key in place.keys)
    begun = httpx.post(url, json=begin, headers=ann)
    session = {"mcp-session-id": begun.headers["mcp-session-id"]}
    ping = {"jsonrpc": "2.0", "id": 2, "method": "ping"}
    assert httpx.post(url, json=ping, headers=ann | session).status_code == 200
    assert httpx.post(url, json=ping, headers=bob | session).status_code == 404
    assert httpx.get(url, headers=ann | session).status_code == 405
    assert httpx.post(url, content=b"{", headers=ann | session).status_code == 400
    assert httpx.delete(url, headers=bob | session).status_code == 404
    assert httpx.delete(url, headers=ann | session).status_code == 200
