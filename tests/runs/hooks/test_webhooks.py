"""Webhooks: told, signed, in order, again after an outage and after a restart."""

import asyncio
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from gateway.accounts.keys import KeyStore
from gateway.images.signing import Signer
from gateway.runs.durable.schema import webhook_attempts
from gateway.runs.hooks import webhooks
from gateway.runs.hooks.webhooks import secrets_of, webhook_status
from gateway.runs.records import Attempt
from gateway.runs.runs import Runs
from tests.outside.hostile import Hostile, hostile
from tests.runs.house import OWNER, draw, gateway_secret, opened, order, until
from tests.runs.postgres import free_port
from tests.runs.receiver import Receiver, receiving
from tests.small_engine import TestEngine

ALLOWED = ("127.0.0.1",)
TOLD = ["queued", "started", "running", "success"]


secret = gateway_secret


async def settled(runs: Runs, run_id: str) -> str | None:
    """The state of a run's deliveries once all are delivered or given up."""

    async def check() -> bool:
        states = await runs.webhook_states(run_id)
        return all(state in ("delivered", "failed") for state in states)

    await until(check)
    return webhook_status(await runs.webhook_states(run_id))


def test_every_status_is_told_in_order_and_signed(tmp_path: Path, database: str | None) -> None:
    async def test(receiver: Receiver) -> None:
        async with opened(tmp_path, database, url_allow=ALLOWED) as runs:
            wanted = order("a (red:1.3) cat", webhook=receiver.url, base_url="http://here")
            (run,) = await draw(runs, wanted)
            assert await settled(runs, run.id) == "success"
            assert receiver.statuses == TOLD
            first, *_, last = receiver.events
            assert (first["event_type"], first["run_id"]) == ("run.updated", run.id)
            assert (first["outputs"], first["progress"], last["progress"]) == ([], 0.0, 1.0)
            assert first["warnings"] == []
            assert [(one["code"], one["param"]) for one in last["warnings"]] == [
                ("syntax_unread", "prompt")
            ]
            ((output,),) = [last["outputs"]]
            assert output["data"]["images"][0]["url"].startswith("http://here/kept/runs/")
            assert len(set(receiver.tried)) == 4
            attempts = await runs.attempts(run.id)
            assert [attempt.delivered for attempt in attempts] == [True] * 4
            # A process that slept, while another delivered what it had begun to, wakes.
            first_event = runs.events.find(attempts[0].event_id)
            assert first_event
            late = Attempt(first_event.id, 1, time.time(), 30.0, None, "too slow", False)
            runs.events.record_attempt(first_event, late, "retrying")
            assert await runs.webhook_states(run.id) == ["delivered"] * 4
            assert await runs.attempts(run.id) == attempts

    with receiving(secret(tmp_path)) as receiver:
        asyncio.run(test(receiver))


def test_a_keys_own_secret_signs_its_webhooks(tmp_path: Path) -> None:
    keys = KeyStore(tmp_path)
    key, _ = keys.create("someone")
    signer = Signer.of_folder(tmp_path)
    assert secrets_of(key.id, keys, signer) == (key.webhook_secret,)
    assert secrets_of("nobody", keys, signer) == (gateway_secret(tmp_path),)
    assert gateway_secret(tmp_path) != key.webhook_secret


def test_steps_and_outputs_are_told_when_asked_for(tmp_path: Path) -> None:
    async def test(receiver: Receiver) -> None:
        async with opened(tmp_path, None, url_allow=ALLOWED) as runs:
            url = f"{receiver.url}?target_events=run.output,run.other"
            (run,) = await draw(runs, order(webhook=url, webhook_intermediate_status=True))
            assert await settled(runs, run.id) == "success"
            told = [(event["event_type"], event["status"]) for event in receiver.events]
            assert told == [
                ("run.updated", "queued"),
                ("run.updated", "started"),
                *[("run.updated", "running")] * 4,
                ("run.output", "success"),
                ("run.updated", "success"),
            ]
            progress = [event["progress"] for event in receiver.events]
            assert progress == [0.0, 0.0, 0.25, 0.5, 0.75, 0.99, 1.0, 1.0]
            assert receiver.events[-3]["outputs"] == []

    with receiving(secret(tmp_path)) as receiver:
        asyncio.run(test(receiver))


def test_an_outage_is_outlived_in_order(
    tmp_path: Path, database: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "WAITS_SECONDS", (0.05,) * 20)

    async def test(receiver: Receiver) -> None:
        async with opened(tmp_path, database, url_allow=ALLOWED) as runs:
            (run,) = await draw(runs, order(webhook=receiver.url))
            assert await settled(runs, run.id) == "success"
            assert receiver.statuses == TOLD
            assert receiver.tried[:4] == [receiver.tried[0]] * 4
            faults = [attempt.fault for attempt in await runs.attempts(run.id)]
            assert faults == ["answered 500", "answered 503", "answered 429", *[None] * 4]

    with receiving(secret(tmp_path), 500, 503, 429) as receiver:
        asyncio.run(test(receiver))


def test_a_restart_goes_on_where_it_was(tmp_path: Path, database: str | None) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/hook"

    async def before() -> str:
        async with opened(tmp_path, database, url_allow=ALLOWED) as runs:
            (run,) = await draw(runs, order(webhook=url))

            async def has_tried() -> bool:
                return len(await runs.attempts(run.id)) >= 2

            await until(has_tried)
            return run.id

    async def after(run_id: str) -> None:
        async with opened(tmp_path, database, url_allow=ALLOWED) as runs:
            assert await settled(runs, run_id) == "success"

    run_id = asyncio.run(before())
    with receiving(secret(tmp_path), port=port) as receiver:
        asyncio.run(after(run_id))
        assert receiver.statuses == TOLD


def test_a_try_that_a_wrong_clock_noted_is_not_waited_for(tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/hook"

    async def weeks_ahead() -> str:
        async with opened(tmp_path, None, url_allow=ALLOWED) as runs:
            (run,) = await draw(runs, order(webhook=url))

            async def has_tried() -> bool:
                return bool(await runs.attempts(run.id))

            await until(has_tried)

            def note() -> None:
                with runs.engine.begin() as connection:
                    later = webhook_attempts.c.at + 40 * 86_400
                    connection.execute(sa.update(webhook_attempts).values(at=later))

            await runs.ground.in_thread(note)
            return run.id

    async def right_again(run_id: str) -> None:
        async with opened(tmp_path, None, url_allow=ALLOWED) as runs:
            assert await settled(runs, run_id) == "success"

    run_id = asyncio.run(weeks_ahead())
    with receiving(secret(tmp_path), port=port) as receiver:
        asyncio.run(right_again(run_id))
        assert receiver.statuses == TOLD


def test_a_dead_or_slow_receiver_slows_no_run(tmp_path: Path) -> None:
    async def test(receiver: Receiver) -> None:
        receiver.at_ease.clear()
        async with opened(tmp_path, None, url_allow=ALLOWED) as runs:
            dead = f"http://127.0.0.1:{free_port()}/hook"
            done = await draw(
                runs,
                *[order(webhook=receiver.url, seed=seed) for seed in range(5)],
                *[order(webhook=dead, seed=seed) for seed in range(5)],
            )
            assert {run.status for run in done} == {"success"}
            assert not receiver.statuses
            receiver.at_ease.set()

    with receiving(secret(tmp_path)) as receiver:
        asyncio.run(test(receiver))


def test_gone_means_no_more_tries(tmp_path: Path) -> None:
    async def test(receiver: Receiver) -> None:
        async with opened(tmp_path, None, url_allow=ALLOWED) as runs:
            (run,) = await draw(runs, order(webhook=receiver.url))
            assert await settled(runs, run.id) == "failed"
            assert len(receiver.tried) == 4

    with receiving(secret(tmp_path), 410, 410, 410, 410) as receiver:
        asyncio.run(test(receiver))


def test_private_receivers_are_not_reached_unless_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "WAITS_SECONDS", (0.01,))

    async def test(receiver: Receiver) -> None:
        async with opened(tmp_path, None) as runs:
            (run,) = await draw(runs, order(webhook=receiver.url))
            assert await settled(runs, run.id) == "failed"
            attempts = await runs.attempts(run.id)
            assert all("not a public address" in (attempt.fault or "") for attempt in attempts)
            assert receiver.tried == []

    with receiving(secret(tmp_path)) as receiver:
        asyncio.run(test(receiver))


@pytest.mark.parametrize("prompt", ["fail", "slow"])
def test_the_last_word_is_how_the_run_ended(tmp_path: Path, prompt: str) -> None:
    async def test(receiver: Receiver) -> None:
        async with opened(tmp_path, None, TestEngine(), url_allow=ALLOWED) as runs:
            (new,) = await runs.accept([order(prompt, webhook=receiver.url)], OWNER)
            if prompt == "slow":
                await until(lambda: asyncio.sleep(0, bool(runs.performer.held)))
                await runs.cancel(new.id)
            run = await runs.wait(new.id, OWNER)
            await settled(runs, run.id)
            assert receiver.statuses[-1] == {"fail": "failed", "slow": "cancelled"}[prompt]

    with receiving(secret(tmp_path)) as receiver:
        asyncio.run(test(receiver))


@pytest.mark.parametrize(("status", "first_try"), [(302, None), (303, None), (307, 200)])
def test_a_redirect_that_drops_the_body_delivers_nothing(
    tmp_path: Path, status: int, first_try: int | None
) -> None:
    async def test(receiver: Receiver) -> None:
        async with opened(tmp_path, None, url_allow=ALLOWED) as runs:
            (run,) = await draw(runs, order(webhook=receiver.url))
            assert await settled(runs, run.id) == "success"
            assert receiver.statuses == TOLD
            assert (await runs.attempts(run.id))[0].http_status == first_try

    with receiving(secret(tmp_path), status) as receiver:
        asyncio.run(test(receiver))


@pytest.mark.parametrize("behaviour", ["endless_body", "bomb", "endless_interim", "inward"])
def test_a_hostile_receiver_is_told_and_not_listened_to(
    tmp_path: Path, behaviour: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "WAITS_SECONDS", ())

    async def test(enemy: Hostile) -> None:
        async with opened(tmp_path, None, url_allow=ALLOWED) as runs:
            (run,) = await draw(runs, order(webhook=enemy.at(behaviour)))
            is_heard = behaviour in ("endless_body", "bomb")
            assert await settled(runs, run.id) == ("success" if is_heard else "failed")
            attempts = await runs.attempts(run.id)
            assert {attempt.http_status for attempt in attempts} == {200 if is_heard else None}
            assert all(b"Accept-Encoding: identity" in head for head in enemy.heads)
            assert enemy.num_sent < 64 * 2**20

    with hostile() as enemy:
        asyncio.run(test(enemy))
