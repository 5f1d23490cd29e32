"""What `usage` counts, in every place where OpenAI's clients look for it."""

import base64
from typing import Any

import msgspec
import pytest

from gateway.job import Job, Pixels
from gateway.web.openai.usage import Tokens, Usage
from tests.images.test_decode import RED, saved
from tests.web.openai.asking import Client, post

PNG = saved(RED.resize((96, 64)), "PNG")
URL = "data:image/png;base64," + base64.b64encode(PNG).decode()
PROMPT = "a cat in snow"
"""The engine of these tests reads a token a word."""


def counts(usage: dict[str, Any]) -> tuple[int, int, int]:
    """What was read of text and pictures, and what was drawn; the sums are checked."""
    read, drawn = usage["input_tokens_details"], usage["output_tokens_details"]
    assert usage["input_tokens"] == read["text_tokens"] + read["image_tokens"]
    assert usage["output_tokens"] == drawn["image_tokens"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    return read["text_tokens"], read["image_tokens"], usage["output_tokens"]


@pytest.mark.parametrize(
    ("path", "body", "drawn"),
    [
        ("/v1/images/generations", {}, 16),
        ("/v1/images/generations", {"n": 3}, 48),
        ("/v1/images/generations", {"size": "128x72"}, 40),
        # Drawn at 64 pixels and resampled.
        ("/v1/images/generations", {"model": "resampled", "size": "640x640"}, 16),
        ("/openai/deployments/tiny/images/generations", {}, 16),
    ],
)
def test_a_picture_is_patches_of_what_was_drawn(
    client: Client, path: str, body: dict[str, Any], drawn: int
) -> None:
    answer = client.post(path, json={"prompt": PROMPT, **body})
    assert counts(answer.json()["usage"]) == (4, 0, drawn)


def test_pictures_to_begin_with_are_read(client: Client) -> None:
    body = {"prompt": PROMPT, "images": [{"image_url": URL}], "n": 2}
    answer = client.post("/v1/images/edits", json=body)
    assert counts(answer.json()["usage"]) == (4, 24, 48)
    controlled = post(client, prompt=PROMPT, control_images=[{"image": URL}])
    assert counts(controlled.json()["usage"]) == (4, 24, 16)


def test_the_events_of_a_stream_add_up_to_the_whole(client: Client) -> None:
    text = post(client, prompt=PROMPT, n=3, stream=True).text
    events = [
        msgspec.json.decode(frame.partition("\ndata: ")[2])
        for frame in text.split("\n\n")
        if frame.startswith("event: image_generation.completed")
    ]
    sums = [sum(part) for part in zip(*(counts(one["usage"]) for one in events), strict=True)]
    assert sums == [4, 0, 48]


def test_responses_and_chats_say_the_same(client: Client) -> None:
    said = [{"type": "input_text", "text": PROMPT}, {"type": "input_image", "image_url": URL}]
    body = {"model": "tiny", "input": [{"role": "user", "content": said}]}
    response = client.post("/v1/responses", json=body).json()
    assert counts(response["usage"]) == (4, 24, 24)
    kept = client.get(f"/v1/responses/{response['id']}").json()
    assert kept["usage"] == response["usage"]
    last = client.post("/v1/responses", json=body | {"stream": True}).text.split("\n\n")[-2]
    completed = msgspec.json.decode(last.partition("\ndata: ")[2])
    assert completed["response"]["usage"] == response["usage"]
    parts = [{"type": "text", "text": PROMPT}, {"type": "image_url", "image_url": {"url": URL}}]
    messages = [{"role": "user", "content": parts}]
    chat = client.post("/v1/chat/completions", json={"model": "tiny", "messages": messages})
    usage = chat.json()["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (28, 24)
    assert usage["total_tokens"] == 52
    assert usage["prompt_tokens_details"]["image_tokens"] == 24


def test_what_no_tokenizer_reads_is_taken_by_its_length() -> None:
    shown = Pixels(17, 16, 3, bytes(17 * 16 * 3))
    facts: dict[str, Any] = {"width": 64, "height": 64, "seeds": (1,)}
    facts["num_inference_steps"] = 1
    job = Job(
        id="a", endpoint="tiny", prompt="a" * 9, negative_prompt="bb", images=(shown,), **facts
    )
    assert Usage.of(job, []).input_tokens_details == Tokens(text_tokens=3, image_tokens=2)
