"""Streamed pictures: previews, then the whole, or why not."""

import base64
from typing import Any

import msgspec

from gateway.web.door.answers.content import GAP, PIECE_BYTES
from gateway.web.openai.stream import StreamEvent, frame
from tests.web.openai.asking import Client, picture, post


def test_streaming_sends_previews_then_the_picture(client: Client) -> None:
    answer = post(client, stream=True, partial_images=2, seed=9)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text.startswith(": loading tiny\n\n")
    frames = [frame for frame in answer.text.split("\n\n") if frame.startswith("event:")]
    names = [frame.split("\n")[0].removeprefix("event: ") for frame in frames]
    assert names[-1] == "image_generation.completed"
    last = msgspec.json.decode(frames[-1].split("\ndata: ")[1])
    assert last["type"] == names[-1]
    wanted = {"b64_json", "created_at", "size", "quality", "background", "output_format", "usage"}
    assert wanted <= set(last)
    assert picture(base64.b64decode(last["b64_json"])).size == (64, 64)
    assert answer.text.endswith("\n\n")


def test_failure_inside_a_stream_carries_an_error_object(client: Client) -> None:
    answer = post(client, stream=True, prompt="fail")
    frame = next(frame for frame in answer.text.split("\n\n") if frame.startswith("event: error"))
    error = msgspec.json.decode(frame.split("\ndata: ")[1])["error"]
    assert error["code"] == "generation_failed"


async def test_a_large_picture_becomes_base64_while_it_is_sent() -> None:
    facts: dict[str, Any] = dict.fromkeys(("size", "quality", "background", "output_format"), "")
    event = StreamEvent(type="x", b64_json=GAP, created_at=1, index=0, **facts)
    picture = bytes(2**22)
    pieces = [piece async for piece in frame(event, picture).sent()]
    assert max(map(len, pieces)) <= 2 * PIECE_BYTES
    name, data = b"".join(pieces).decode().split("\n", 1)
    assert name == "event: x"
    found = msgspec.json.decode(data.removeprefix("data: "))
    assert base64.b64decode(found["b64_json"]) == picture
