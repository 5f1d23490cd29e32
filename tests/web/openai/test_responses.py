"""OpenAI's Responses: every input is drawn, and a conversation goes on from its pictures."""

import base64
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from litestar.testing import TestClient

from gateway.app import create_app
from gateway.errors import NotFound
from gateway.images.objects import Objects
from gateway.settings import Settings
from gateway.web.openai.responses.kept import Kept, KeptAnswers
from tests.images.test_decode import RED, saved
from tests.small_engine import TestEngine
from tests.web.openai.asking import Client, picture, refused, two_endpoints

PATH = "/v1/responses"
URL = "data:image/png;base64," + base64.b64encode(saved(RED.resize((96, 64)), "PNG")).decode()


@pytest.fixture(scope="module")
def client(engine: TestEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    settings = Settings(endpoints=("tiny", "blind"), data=tmp_path_factory.mktemp("data"))
    catalog = two_endpoints()
    blind = msgspec.structs.replace(catalog.endpoints["tiny"], id="blind", edits=False)
    served = msgspec.structs.replace(catalog, endpoints=catalog.endpoints | {"blind": blind})
    with TestClient(create_app(settings, engine, served)) as client:
        yield client


def ask(client: Client, input: Any = "a cat", *, tool: Any = None, **more: Any) -> Any:
    tools = [{"type": "web_search"}, {"type": "image_generation", **(tool or {})}]
    body = {"model": "gpt-5", "input": input, "tools": tools, **more}
    return client.post(PATH, json=body)


def shown(answer: Any) -> list[bytes]:
    calls = [item for item in answer["output"] if item["type"] == "image_generation_call"]
    return [base64.b64decode(call["result"]) for call in calls]


def test_an_input_is_drawn_whatever_model_of_language_is_named(
    client: Client, engine: TestEngine
) -> None:
    tool = {"size": "96x64", "output_format": "webp", "seed": 7, "moderation": "auto"}
    answer = ask(client, tool=tool, instructions="Draw.", temperature=0.2, metadata={"a": "b"})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    call, message = body["output"]
    assert picture(shown(body)[0]).format == "WEBP"
    assert (call["size"], call["output_format"], call["status"]) == ("96x64", "webp", "completed")
    assert call["revised_prompt"] == engine.jobs[-1].prompt == "a cat"
    assert engine.jobs[-1].seeds == (7,)
    (text,) = message["content"]
    link = text["text"].removeprefix("![image](").removesuffix(")")
    assert client.get(link).content == shown(body)[0]
    assert (body["model"], body["status"], body["metadata"]) == ("gpt-5", "completed", {"a": "b"})
    assert body["warnings"] == []
    assert body["usage"]["input_tokens_details"]["cached_tokens"] == 0


def test_one_of_our_models_is_drawn_with(client: Client, engine: TestEngine) -> None:
    assert ask(client, model="tiny:style").status_code == 200
    assert engine.jobs[-1].adapters
    assert ask(client, tool={"model": "tiny"}, model="tiny:style").status_code == 200
    assert not engine.jobs[-1].adapters
    refused(ask(client, tool={"model": "gone"}), 404, "model_not_found", "model")


def test_a_picture_in_the_input_is_edited(client: Client, engine: TestEngine) -> None:
    said = [{"type": "input_text", "text": "in snow"}, {"type": "input_image", "image_url": URL}]
    assert ask(client, [{"role": "user", "content": said}]).status_code == 200
    assert (len(engine.jobs[-1].images), engine.jobs[-1].mask) == (1, None)
    assert ask(client, [{"role": "user", "content": said}], tool={"action": "generate"})
    assert not engine.jobs[-1].images
    mask = {"input_image_mask": {"image_url": URL}}
    assert ask(client, [{"role": "user", "content": said}], tool=mask).status_code == 200
    assert engine.jobs[-1].mask


def test_a_conversation_goes_on_from_its_last_picture(client: Client, engine: TestEngine) -> None:
    first = ask(client).json()
    call = first["output"][0]
    words = {"role": "user", "content": "at night"}
    whole = {"type": "image_generation_call", "id": "ig_gone", "result": call["result"]}
    for before in (
        {"previous_response_id": first["id"], "input": "at night"},
        {"input": [{"type": "image_generation_call", "id": call["id"]}, words]},
        {"input": [whole, words]},
    ):
        assert ask(client, **before).status_code == 200
        job = engine.jobs[-1]
        assert (job.prompt, len(job.images)) == ("at night", 1)
        assert ask(client, **before, model="blind").status_code == 200
        assert not engine.jobs[-1].images, "an endpoint that cannot edit draws anew"
        assert ask(client, **before, tool={"action": "generate"}).status_code == 200
        assert not engine.jobs[-1].images
    gone = ask(client, previous_response_id="resp_gone")
    refused(gone, 404, None, "previous_response_id")
    nothing = ask(client, tool={"action": "edit"})
    refused(nothing, 400, "invalid_value", "tools[0].action")


def test_an_answer_is_there_again_until_it_is_deleted(client: Client) -> None:
    first = ask(client, n=2).json()
    again = client.get(f"{PATH}/{first['id']}")
    assert again.json() == first
    assert len(shown(first)) == 2
    assert client.delete(f"{PATH}/{first['id']}").json()["deleted"]
    refused(client.get(f"{PATH}/{first['id']}"), 404, None, None)
    unkept = ask(client, store=False).json()
    refused(client.get(f"{PATH}/{unkept['id']}"), 404, None, None)
    for id in ("..", "%2e%2e%2fkeys", first["output"][0]["id"]):
        assert client.get(f"{PATH}/{id}").status_code in (404, 405)


async def test_what_is_kept_is_its_owners_and_for_a_while(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, url_minutes=5)
    kept = KeptAnswers(Objects(settings), settings)
    await kept.put("resp_1", Kept("ann", ("a.png",)))
    assert (await kept.get("resp_1", "ann")).pictures == ("a.png",)
    with pytest.raises(NotFound):
        await kept.get("resp_1", "bob")
    assert await kept.sweep() == 0
    assert await kept.sweep(datetime.now(UTC) + timedelta(minutes=6)) == 1


def test_a_streamed_answer_comes_in_the_order_that_clients_know(client: Client) -> None:
    text = ask(client, tool={"partial_images": 1, "seed": 3}, stream=True).text
    frames = [frame for frame in text.split("\n\n") if frame and not frame.startswith(":")]
    events = [msgspec.json.decode(frame.split("\ndata: ")[1]) for frame in frames]
    call = "response.image_generation_call"
    names = [event["type"] for event in events if event["type"] != f"{call}.partial_image"]
    assert [frame.split("\n")[0] for frame in frames] == [f"event: {one['type']}" for one in events]
    assert names == [
        *("response.created", "response.in_progress", "response.output_item.added"),
        *(f"{call}.in_progress", f"{call}.generating", f"{call}.completed"),
        *("response.output_item.done", "response.output_item.added"),
        *("response.content_part.added", "response.output_text.delta"),
        *("response.output_text.done", "response.content_part.done"),
        *("response.output_item.done", "response.completed"),
    ]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    whole = events[-1]["response"]
    (item,) = [event["item"] for event in events if event.get("item", {}).get("result")]
    assert item == whole["output"][0]
    assert client.get(f"{PATH}/{whole['id']}").json() == whole


def test_what_fails_in_a_stream_is_said_in_it(client: Client) -> None:
    last = ask(client, "fail", stream=True).text.rstrip().split("\n\n")[-1]
    event = msgspec.json.decode(last.split("\ndata: ")[1])
    assert event["type"] == "response.failed"
    assert event["response"]["error"]["code"] == "generation_failed"


@pytest.mark.parametrize("input", [None, "", [], [7], {"a": 1}, [{"role": "user"}]])
def test_an_input_without_words_is_refused(client: Client, input: Any) -> None:
    answer = client.post(PATH, json={"input": input})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "input"
