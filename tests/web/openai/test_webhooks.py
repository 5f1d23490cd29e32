"""Webhook endpoints by OpenAI's own client, against a gateway on a socket; batches tell of ends."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import openai
import pytest
from openai import OpenAI

from gateway.accounts.keys import KeyStore
from gateway.app import create_app
from gateway.runs.hooks.store import MAX_HOOKS
from gateway.settings import Settings
from tests.runs.receiver import Receiver, receiving
from tests.serving import listening
from tests.small_engine import TestEngine, small_catalog

ALL = ["batch.completed", "batch.failed", "batch.expired", "batch.cancelled"]
ELSEWHERE = "https://93.184.215.14/hook"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving("whsec_" + "A" * 32) as running:
        yield running


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    settings = Settings(endpoints=("tiny",), data=tmp_path, url_allow=("127.0.0.1",))
    KeyStore(tmp_path).create("nobody")
    with listening(create_app(settings, TestEngine(), small_catalog())) as running:
        yield running


@pytest.fixture
def client(url: str, tmp_path: Path) -> Iterator[OpenAI]:
    with signed_in(url, tmp_path) as opened:
        yield opened


def signed_in(url: str, data: Path) -> OpenAI:
    """A client with a key of its own."""
    _, secret = KeyStore(data).create("somebody")
    return OpenAI(base_url=f"{url}/v1", api_key=secret, max_retries=0)


def hooked(client: OpenAI, receiver: Receiver, *kinds: Any) -> Any:
    """An endpoint at the receiver, which knows its secret from then on."""
    made = client.webhooks.create(name="mine", url=receiver.url, event_types=[*(kinds or ALL)])
    receiver.secret = made.signing_secret
    return made


def begun(client: OpenAI, *prompts: str, **more: Any) -> str:
    lines = [
        {
            "custom_id": str(number),
            "method": "POST",
            "url": "/v1/images/generations",
            "body": {"model": "tiny", "prompt": prompt},
        }
        for number, prompt in enumerate(prompts)
    ]
    data = b"\n".join(map(msgspec.json.encode, lines)) or b"nothing"
    file = client.files.create(file=("lines.jsonl", data), purpose="batch")
    batch = client.batches.create(
        input_file_id=file.id,
        endpoint="/v1/images/generations",
        completion_window="24h",
        **more,
    )
    return batch.id


def until(check: Callable[[], Any], seconds: float = 30) -> Any:
    """What a check finds once it finds something."""
    deadline = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.02)
    return found


def unwrapped(client: OpenAI, receiver: Receiver, place: int, secret: str) -> Any:
    """What OpenAI's client makes of a webhook, with its signature checked."""
    headers, body = until(lambda: receiver.letters[place:])[0]
    return client.webhooks.unwrap(body, headers, secret=secret)


def test_a_batch_that_ends_tells_every_endpoint_that_wants_it(
    client: OpenAI, receiver: Receiver
) -> None:
    client.webhooks.create(name="deaf", url=receiver.url, event_types=["batch.expired"])
    made = hooked(client, receiver)
    done = begun(client, "a cat")
    event = unwrapped(client, receiver, 0, made.signing_secret)
    assert (event.type, event.data.id, event.object) == ("batch.completed", done, "event")
    assert receiver.letters[0][0]["webhook-id"] == event.id
    failed = begun(client)
    event = unwrapped(client, receiver, 1, made.signing_secret)
    assert (event.type, event.data.id) == ("batch.failed", failed)
    stopped = begun(client, *["slow"] * 1000)
    client.batches.cancel(stopped)
    event = unwrapped(client, receiver, 2, made.signing_secret)
    assert (event.type, event.data.id) == ("batch.cancelled", stopped)
    assert receiver.refused == []


def test_what_an_endpoint_is_can_be_seen_and_changed(client: OpenAI, receiver: Receiver) -> None:
    assert client.webhooks.event_types.list().data == ALL
    made = hooked(client, receiver, "batch.failed", "batch.completed", "batch.failed")
    assert made.signing_secret.startswith("whsec_")
    assert (made.signing_secret_hint or "").endswith(made.signing_secret[-4:])
    seen = client.webhooks.retrieve(made.id)
    assert (seen.name, seen.url, seen.event_types) == (
        "mine",
        receiver.url,
        ["batch.completed", "batch.failed"],
    )
    assert "signing_secret" not in (seen.model_extra or {})
    changed = client.webhooks.update(made.id, name="yours", event_types=["batch.expired"])
    assert (changed.name, changed.event_types, changed.url) == (
        "yours",
        ["batch.expired"],
        receiver.url,
    )
    others = [
        client.webhooks.create(name=str(place), url=ELSEWHERE, event_types=["batch.failed"])
        for place in range(3)
    ]
    listed = [one.id for one in client.webhooks.list(limit=2)]  # over all of the pages
    assert listed == [*(one.id for one in reversed(others)), made.id]
    gone = client.webhooks.delete(others[0].id)
    assert (gone.deleted, gone.object) == (True, "webhook_endpoint.deleted")
    with pytest.raises(openai.NotFoundError):
        client.webhooks.retrieve(others[0].id)


def test_a_secret_is_changed_with_the_old_one_or_without(
    client: OpenAI, receiver: Receiver
) -> None:
    made = hooked(client, receiver)
    first = made.signing_secret
    kept = client.webhooks.rotate_secret(made.id, keep_old_secret_active_for_24_hours=True)
    client.webhooks.test(made.id, event_type="batch.completed")
    for secret in (first, kept.signing_secret):
        assert unwrapped(client, receiver, 0, secret).type == "batch.completed"
    alone = client.webhooks.rotate_secret(made.id)
    assert len({first, kept.signing_secret, alone.signing_secret}) == 3
    receiver.secret = alone.signing_secret
    client.webhooks.test(made.id, event_type="batch.failed")
    assert unwrapped(client, receiver, 1, alone.signing_secret).type == "batch.failed"
    with pytest.raises(openai.InvalidWebhookSignatureError):
        unwrapped(client, receiver, 1, kept.signing_secret)


def test_a_trial_says_what_was_answered(client: OpenAI, receiver: Receiver) -> None:
    made = hooked(client, receiver)
    receiver.answers = [503]
    tried = client.webhooks.test(made.id, event_type="batch.completed")
    assert (tried.status_code, tried.event_type, tried.success) == (503, "batch.completed", True)
    client.webhooks.update(made.id, url=receiver.url.replace("/hook", "").rsplit(":", 1)[0] + ":9")
    with pytest.raises(openai.BadRequestError, match="did not answer"):
        client.webhooks.test(made.id, event_type="batch.completed")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"url": "http://10.0.0.1/hook"}, "url"),
        ({"url": "ftp://example.com"}, "url"),
        ({"url": "no url"}, "url"),
        ({"event_types": ["response.completed"]}, "event_types"),
        ({"event_types": []}, "event_types"),
        ({"name": ""}, "name"),
        ({"name": "a" * 257}, "name"),
    ],
)
def test_what_cannot_be_is_refused(client: OpenAI, fields: Any, param: str) -> None:
    whole = {"name": "mine", "url": ELSEWHERE, "event_types": ["batch.completed"]}
    with pytest.raises(openai.BadRequestError) as raised:
        client.webhooks.create(**whole | fields)
    assert raised.value.param == param


def test_each_key_has_its_own_and_not_too_many(client: OpenAI, url: str, tmp_path: Path) -> None:
    kinds: Any = ["batch.completed"]
    made = [
        client.webhooks.create(name=str(place), url=ELSEWHERE, event_types=kinds)
        for place in range(MAX_HOOKS)
    ]
    with pytest.raises(openai.BadRequestError, match="delete one"):
        client.webhooks.create(name="more", url=ELSEWHERE, event_types=kinds)
    with signed_in(url, tmp_path) as other:
        assert list(other.webhooks.list()) == []
        for act in (
            other.webhooks.retrieve,
            other.webhooks.delete,
            other.webhooks.rotate_secret,
        ):
            with pytest.raises(openai.NotFoundError):
                act(made[0].id)
    client.webhooks.delete(made[0].id)
    assert client.webhooks.create(name="more", url=ELSEWHERE, event_types=kinds).id


def test_a_batch_says_what_it_took_and_how_long_its_answers_are_kept(client: OpenAI) -> None:
    expiry: Any = {"anchor": "created_at", "seconds": 3600}
    id = begun(client, "a cat", "a dog in snow", "fail", output_expires_after=expiry)
    batch = until(lambda: [one for one in [client.batches.retrieve(id)] if one.completed_at])[0]
    assert batch.usage
    assert batch.model == "tiny"
    assert (batch.usage.input_tokens, batch.usage.output_tokens) == (6, 32)
    assert (batch.usage.total_tokens, batch.usage.input_tokens_details.cached_tokens) == (38, 0)
    answers = client.files.content(batch.output_file_id or "").read().splitlines()
    bodies = [msgspec.json.decode(answer)["response"]["body"] for answer in answers]
    assert sum(body["usage"]["total_tokens"] for body in bodies) == 38
    for file_id in (batch.output_file_id, batch.error_file_id):
        file = client.files.retrieve(file_id or "")
        assert file.expires_at == file.created_at + 3600
    with pytest.raises(openai.BadRequestError):
        begun(client, "a cat", output_expires_after=expiry | {"seconds": 60})
