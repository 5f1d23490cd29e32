"""OpenAI's Python SDK, as it is, against a gateway on a socket."""

import asyncio
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from tests.clients.pictures import fetched, opened, same
from tests.serving import Server

ASK: dict[str, Any] = {"model": "tiny", "prompt": "a red apple", "size": "64x64"}
SEEDED = ASK | {"extra_body": {"seed": 7, "num_inference_steps": 3}}


@pytest.fixture
def client(server: Server) -> Iterator[OpenAI]:
    """A client that tries once."""
    with OpenAI(base_url=f"{server.url}/v1", api_key=server.key, max_retries=0) as opened_client:
        yield opened_client


def test_both_forms_come_where_none_is_asked_for(client: OpenAI) -> None:
    answer = client.images.generate(n=2, **ASK)
    assert answer.data
    assert len(answer.data) == 2
    assert answer.created > 1_700_000_000
    assert answer.usage
    for item in answer.data:
        assert item.url
        assert item.b64_json
        assert same(fetched(item.url), opened(item.b64_json))


def test_a_form_asked_for_comes_alone(client: OpenAI) -> None:
    url = client.images.generate(response_format="url", **ASK).data
    data = client.images.generate(response_format="b64_json", **ASK).data
    assert url
    assert data
    assert (bool(url[0].url), url[0].b64_json) == (True, None)
    assert (data[0].url, bool(data[0].b64_json)) == (None, True)


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_the_encoding_asked_for_comes(client: OpenAI, kind: Any) -> None:
    answer = client.images.generate(output_format=kind, **ASK)
    assert answer.data
    assert answer.data[0].b64_json
    assert opened(answer.data[0].b64_json).format == kind.upper()
    assert (answer.output_format, answer.size) == (kind, "64x64")


def test_one_seed_makes_one_picture_and_another_makes_another(client: OpenAI) -> None:
    first, second = (picture(client, 7) for _ in range(2))
    assert same(first, second)
    assert not same(first, picture(client, 8))


def picture(client: OpenAI, seed: int) -> Any:
    """The picture of a seed."""
    answer = client.images.generate(**ASK, extra_body={"seed": seed})
    assert answer.data
    return opened(answer.data[0].b64_json or "")


def test_an_adapter_changes_the_picture(client: OpenAI) -> None:
    base = client.images.generate(**SEEDED).data
    ink = client.images.generate(**SEEDED | {"model": "tiny:ink"}).data
    assert base
    assert ink
    assert not same(opened(base[0].b64_json or ""), opened(ink[0].b64_json or ""))


async def test_many_at_once(server: Server) -> None:
    async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key=server.key) as client:
        alone = await client.images.generate(**SEEDED)
        answers = await asyncio.gather(*(
            client.images.generate(
                **ASK, extra_body={"seed": 7 if n == 0 else n + 100, "num_inference_steps": 3}
            )
            for n in range(8)
        ))
    assert alone.data
    seen = [opened(answer.data[0].b64_json or "") for answer in answers if answer.data]
    assert len({image.tobytes() for image in seen}) == 8
    closest = max(
        abs(one - other)
        for one, other in zip(seen[0].tobytes(), opened(alone.data[0].b64_json or "").tobytes(),
                              strict=True)
    )
    assert closest <= 1


def test_a_stream_shows_previews_and_then_the_picture(client: OpenAI) -> None:
    body = {"seed": 7, "num_inference_steps": 6}
    with client.images.generate(stream=True, partial_images=2, extra_body=body, **ASK) as stream:
        events = list(stream)
    partial, (last,) = events[:-1], events[-1:]
    assert [event.type for event in partial] == ["image_generation.partial_image"] * 2
    assert [event.partial_image_index for event in partial] == [0, 1]
    assert last.type == "image_generation.completed"
    assert last.usage.output_tokens == 16
    assert last.usage.input_tokens > 0
    whole = client.images.generate(extra_body=body, **ASK).data
    assert whole
    assert same(opened(last.b64_json), opened(whole[0].b64_json or ""))


async def test_an_asynchronous_stream(server: Server) -> None:
    async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key=server.key) as client:
        stream = await client.images.generate(stream=True, n=2, **ASK)
        kinds = [event.type async for event in stream]
    assert kinds == ["image_generation.completed"] * 2


def test_models_are_listed_and_found_by_ids_with_colons(client: OpenAI) -> None:
    listed = {model.id for model in client.models.list()}
    assert {"tiny", "tiny:ink", "slow", "dall-e-2", "dall-e-3"} <= listed
    found = client.models.retrieve("tiny:ink")
    assert (found.id, found.object) == ("tiny:ink", "model")
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("tiny:none")


@pytest.mark.parametrize(
    ("change", "kind", "code", "param"),
    [
        ({"model": "none"}, openai.NotFoundError, "model_not_found", "model"),
        ({"model": "tiny:none"}, openai.NotFoundError, "model_not_found", "model"),
        ({"n": 11}, openai.BadRequestError, "integer_above_max_value", "n"),
        ({"n": 0}, openai.BadRequestError, "integer_below_min_value", "n"),
        ({"prompt": ""}, openai.BadRequestError, None, "prompt"),
        ({"prompt": 5}, openai.BadRequestError, "invalid_type", "prompt"),
        ({"size": "9999x9999"}, openai.BadRequestError, "invalid_value", "size"),
        ({"response_format": "tiff"}, openai.BadRequestError, "invalid_value", "response_format"),
        (
            {"extra_body": {"num_inference_steps": 11}},
            openai.BadRequestError, "integer_above_max_value", "num_inference_steps",
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_refusals_are_the_sdks_own_errors(
    client: OpenAI, change: dict[str, Any], kind: type[openai.APIStatusError],
    code: str | None, param: str,
) -> None:
    with pytest.raises(kind) as caught:
        client.images.generate(**ASK | change)
    error = caught.value
    assert error.param == param
    assert code is None or error.code == code
    assert error.request_id


def test_an_unknown_route_is_told_with_the_routes_there_are(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="ink"):
        client.images.generate(**ASK | {"model": "tiny:none"})


def test_a_wrong_key_is_refused(server: Server) -> None:
    with (
        OpenAI(base_url=f"{server.url}/v1", api_key="wrong", max_retries=0) as stranger,
        pytest.raises(openai.AuthenticationError) as caught,
    ):
        stranger.images.generate(**ASK)
    assert caught.value.code == "invalid_api_key"


def test_a_base_without_v1_works_too(server: Server) -> None:
    with OpenAI(base_url=server.url, api_key=server.key, max_retries=0) as client:
        assert client.images.generate(**ASK).data
