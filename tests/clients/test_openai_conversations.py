"""OpenAI's Python SDK where it talks: responses, chats, and Azure's paths."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import AzureOpenAI, OpenAI

from tests.clients.pictures import fetched, opened, same
from tests.serving import Server


@pytest.fixture
def client(server: Server) -> Iterator[OpenAI]:
    """A client that tries once."""
    with OpenAI(base_url=f"{server.url}/v1", api_key=server.key, max_retries=0) as opened_client:
        yield opened_client


def test_a_response_is_a_picture_and_a_conversation_goes_on(client: OpenAI) -> None:
    tool: Any = {"type": "image_generation", "size": "64x64", "model": "tiny"}
    first = client.responses.create(model="gpt-5", input="a red apple", tools=[tool])
    (call,) = [item for item in first.output if item.type == "image_generation_call"]
    assert call.result
    link = first.output_text.removeprefix("![image](").removesuffix(")")
    assert same(fetched(link), opened(call.result))
    second = client.responses.create(
        model="gpt-5", input="now green", tools=[tool], previous_response_id=first.id
    )
    assert second.previous_response_id == first.id
    again = client.responses.retrieve(first.id)
    assert again.output == first.output
    client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)


def test_a_streamed_response_adds_up(client: OpenAI) -> None:
    tool: Any = {"type": "image_generation", "size": "64x64", "model": "tiny", "partial_images": 1}
    with client.responses.stream(model="gpt-5", input="a red apple", tools=[tool]) as stream:
        kinds = [event.type for event in stream]
        whole = stream.get_final_response()
    assert "response.image_generation_call.partial_image" in kinds
    assert [item.type for item in whole.output] == ["image_generation_call", "message"]


def test_a_chat_is_a_picture(client: OpenAI) -> None:
    messages: Any = [{"role": "user", "content": "a red apple"}]
    answer = client.chat.completions.create(model="tiny", messages=messages)
    (choice,) = answer.choices
    assert choice.message.content
    link = choice.message.content.removeprefix("![image](").removesuffix(")")
    images: Any = choice.message.model_extra
    inline = images["images"][0]["image_url"]["url"].partition(",")[2]
    assert same(fetched(link), opened(inline))
    with client.chat.completions.stream(model="tiny", messages=messages) as stream:
        stream.until_done()
        content = stream.get_final_completion().choices[0].message.content
    assert content
    assert content.startswith("![image](")


@pytest.mark.parametrize("deployment", [None, "tiny"])
def test_azures_client_draws(server: Server, deployment: str | None) -> None:
    with AzureOpenAI(
        azure_endpoint=server.url,
        azure_deployment=deployment,
        api_key=server.key,
        api_version="2025-04-01-preview",
        max_retries=0,
    ) as client:
        answer = client.images.generate(model="tiny", prompt="a red apple", size="64x64")
        assert answer.data
        assert opened(answer.data[0].b64_json or "").size == (64, 64)
