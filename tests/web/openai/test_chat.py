"""Chat with a model that draws."""

import base64
from typing import Any

import msgspec
import pytest

from tests.images.test_decode import RED, saved
from tests.small_engine import TestEngine
from tests.web.openai.asking import Client, picture, refused

CHAT = "/v1/chat/completions"
URL = "data:image/png;base64," + base64.b64encode(saved(RED.resize((96, 64)), "PNG")).decode()


def say(client: Client, content: Any, **more: Any) -> Any:
    messages = [
        {"role": "system", "content": "You draw."},
        {"role": "user", "content": "a dog"},
        {"role": "assistant", "content": "![image](http://localhost/files/a.png)"},
        {"role": "user", "content": content},
    ]
    return client.post(CHAT, json={"model": "tiny", "messages": messages, **more})


def test_the_last_words_are_drawn(client: Client, engine: TestEngine) -> None:
    answer = say(client, "a cat", seed=5, temperature=0.7, max_tokens=10, modalities=["image"])
    body = answer.json()
    assert answer.status_code == 200, answer.text
    assert (engine.jobs[-1].prompt, engine.jobs[-1].images) == ("a cat", ())
    (choice,) = body["choices"]
    assert (choice["finish_reason"], choice["message"]["role"]) == ("stop", "assistant")
    (shown,) = choice["message"]["images"]
    inline = shown["image_url"]["url"].removeprefix("data:image/png;base64,")
    link = choice["message"]["content"].removeprefix("![image](").removesuffix(")")
    assert client.get(link).content == base64.b64decode(inline)
    assert (body["object"], body["model"], body["warnings"]) == ("chat.completion", "tiny", [])


def test_pictures_beside_the_words_are_edited(client: Client, engine: TestEngine) -> None:
    parts = [
        {"type": "text", "text": "in snow"},
        {"type": "image_url", "image_url": {"url": URL, "detail": "auto"}},
    ]
    assert say(client, parts).status_code == 200
    job = engine.jobs[-1]
    assert (job.prompt, len(job.images), job.width) == ("in snow", 1, 96)


def test_a_streamed_answer_adds_up_to_the_whole_one(client: Client) -> None:
    text = say(client, "a cat", n=2, stream=True, stream_options={"include_usage": True}).text
    *frames, done, _ = (frame for frame in text.split("\n\n") if not frame.startswith(":"))
    assert done == "data: [DONE]"
    chunks = [msgspec.json.decode(frame.removeprefix("data: ")) for frame in frames]
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["total_tokens"] == 2 + 2 * 16
    for place in (0, 1):
        deltas = [
            choice["delta"] | {"end": choice["finish_reason"]}
            for chunk in chunks
            for choice in chunk["choices"]
            if choice["index"] == place
        ]
        (shown,) = [delta for delta in deltas if delta.get("images")]
        inline = shown["images"][0]["image_url"]["url"].partition(",")[2]
        assert picture(base64.b64decode(inline)).size == (64, 64)
        assert deltas[0]["role"] == "assistant"
        assert [delta["end"] for delta in deltas] == [None, None, "stop"]


def test_what_fails_in_a_stream_is_said_in_it(client: Client) -> None:
    last = say(client, "fail", stream=True).text.split("\n\n")[-2]
    assert msgspec.json.decode(last.removeprefix("data: "))["error"]["code"] == "generation_failed"


@pytest.mark.parametrize(
    ("messages", "code", "param"),
    [
        (None, "missing_required_parameter", "messages"),
        ([], "missing_required_parameter", "messages"),
        ([{"role": "user", "content": []}], "missing_required_parameter", "messages"),
        ([{"role": "system", "content": "x"}], "missing_required_parameter", "messages"),
        ([7, {"role": "user"}], "missing_required_parameter", "messages"),
        ({"role": "user"}, "invalid_type", "messages"),
        ([{"role": "user", "content": [{"type": "text", "text": 7}]}], None, None),
    ],
)
def test_a_chat_without_words_is_refused(
    client: Client, messages: Any, code: str | None, param: str | None
) -> None:
    answer = client.post(CHAT, json={"model": "tiny", "messages": messages})
    if code is None:
        assert answer.status_code == 200
    else:
        refused(answer, 400, code, param)


def test_a_picture_that_is_none_is_refused(client: Client) -> None:
    broken = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    answer = say(client, [{"type": "text", "text": "x"}, broken])
    refused(answer, 400, "invalid_image", "image")
