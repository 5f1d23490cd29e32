"""What endpoints are owed of a batch outlives outages, restarts and the gateway's own faults."""

import asyncio
from pathlib import Path

import pytest

from gateway.runs.batches.records import Batch
from gateway.runs.hooks import webhooks
from gateway.runs.runs import Runs
from tests.runs.batches.test_batch_work import begun, ended, opened
from tests.runs.house import until
from tests.runs.postgres import free_port
from tests.runs.receiver import Receiver, receiving

ALLOWED = ("127.0.0.1",)


async def hooked(runs: Runs, url: str) -> str:
    """An endpoint of ann's; its secret."""
    hook = await runs.hooks.create("ann", "mine", url, ("batch.completed", "batch.expired"))
    return hook.secret


async def settled(runs: Runs, batch: Batch) -> list[str]:
    """How a batch's deliveries went, once they are delivered or given up."""

    async def check() -> list[str]:
        states = await runs.ground.ask(runs.events.states, batch.id)
        return states if set(states) <= {"delivered", "failed"} else []

    return await until(check)


def test_an_outage_of_the_receiver_and_a_restart_lose_nothing(
    tmp_path: Path, database: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "WAITS_SECONDS", (0.2,) * 1000)
    port = free_port()

    async def before() -> tuple[str, Batch]:
        async with opened(tmp_path, database, url_allow=ALLOWED) as runs:
            secret = await hooked(runs, f"http://127.0.0.1:{port}/hook")
            batch = await begun(runs, "a cat")
            await ended(runs, batch)

            async def has_tried() -> bool:
                return bool(await runs.ground.ask(runs.events.attempts, batch.id))

            await until(has_tried)
            return secret, batch

    async def after(batch: Batch) -> None:
        async with opened(tmp_path, database, url_allow=ALLOWED) as runs:
            assert await settled(runs, batch) == ["delivered"]
            await runs.batches.sweep(float("inf"))
            assert await runs.ground.ask(runs.events.states, batch.id) == []

    secret, batch = asyncio.run(before())
    with receiving(secret, 500, port=port) as receiver:
        asyncio.run(after(batch))
        (event,) = receiver.events
        assert (event["type"], event["data"]) == ("batch.completed", {"id": batch.id})
        assert len(set(receiver.tried)) == 1


def test_a_dead_endpoint_holds_up_no_other(tmp_path: Path) -> None:
    async def test(receiver: Receiver) -> None:
        async with opened(tmp_path, None, url_allow=ALLOWED) as runs:
            await hooked(runs, f"http://127.0.0.1:{free_port()}/hook")
            receiver.secret = await hooked(runs, receiver.url)
            first, second = await begun(runs, "a cat"), await begun(runs, "a dog")

            async def told() -> bool:
                return {event["data"]["id"] for event in receiver.events} == {first.id, second.id}

            await until(told)

    with receiving("whsec_AAAA") as receiver:
        asyncio.run(test(receiver))


def test_what_a_deleted_endpoint_is_owed_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "WAITS_SECONDS", (0.05,) * 10_000)

    async def test() -> None:
        async with opened(tmp_path, None, url_allow=ALLOWED) as runs:
            url = f"http://127.0.0.1:{free_port()}/hook"
            hook = await runs.hooks.create("ann", "mine", url, ("batch.completed",))
            batch = await begun(runs, "a cat")
            await ended(runs, batch)
            await runs.hooks.delete(hook.id, "ann")
            assert await settled(runs, batch) == ["failed"]

    asyncio.run(test())
