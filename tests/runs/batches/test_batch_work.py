"""Batches in the database and through time: expiry, sweeping, and files that are gone."""

import time
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from gateway.accounts.keys import KeyStore
from gateway.catalog.collection import Collection
from gateway.errors import NotFound, RateLimited
from gateway.images.darkroom import Darkroom
from gateway.runs.batches import store
from gateway.runs.batches.batches import new_batch
from gateway.runs.batches.records import Answer, Batch, Line
from gateway.runs.drawing.perform import Equipment
from gateway.runs.durable import workflows as durable
from gateway.runs.runs import Runs
from gateway.settings import Settings
from tests.runs.house import kept, until
from tests.small_engine import TestEngine, small_catalog

URL = "/v1/images/generations"


async def answer(batch: Batch, line: Line) -> Answer:
    """Answers every line at once, but for those that never come to an end."""
    if line.body["prompt"] == "never":
        return Answer(429, "req_1", (b"{}",), retry_after_seconds=60)
    return Answer(200, "req_1", (b'   {"data"', b":[]}"))


def opened(data: Path, database: str | None, **more: Any) -> AbstractAsyncContextManager[Runs]:
    settings = Settings(data=data, database=database, **more)
    equipment = Equipment(
        engine=TestEngine(),
        collection=Collection.of(small_catalog()),
        settings=settings,
        darkroom=Darkroom(settings),
    )
    return Runs.opened(equipment, KeyStore(data), answer)


async def begun(runs: Runs, *prompts: str, seconds: float = 3600, owner: str = "ann") -> Batch:
    lines = (
        {"custom_id": str(number), "method": "POST", "url": URL, "body": {"prompt": prompt}}
        for number, prompt in enumerate(prompts)
    )
    data = b"\n".join(map(msgspec.json.encode, lines))
    file = await kept(runs, "lines.jsonl", data)
    batch = new_batch("ann", URL, file, "http://here", None)
    until_then = time.time() + seconds
    batch = msgspec.structs.replace(batch, expires_at=until_then, owner=owner)
    if owner != "ann":
        await runs.files.put(batch.input_key, data)
    await runs.batches.begin(batch)
    return batch


async def ended(runs: Runs, batch: Batch) -> Batch:
    async def has_ended() -> bool:
        return (await runs.batches.get(batch.id, "ann")).has_ended

    await until(has_ended)
    return await runs.batches.get(batch.id, "ann")


async def content(runs: Runs, file_id: str | None) -> list[dict[str, object]]:
    assert file_id
    file = await runs.batches.file(file_id, "ann")
    data = b"".join([piece async for piece in (await runs.batches.open(file)).pieces()])
    assert file.size_bytes == len(data)
    return [msgspec.json.decode(text) for text in data.splitlines()]


async def test_what_is_not_answered_in_time_expires(tmp_path: Path, database: str | None) -> None:
    async with opened(tmp_path, database) as runs:
        batch = await ended(runs, await begun(runs, "a cat", "never", seconds=2))
        assert batch.status == "expired"
        assert batch.expired_at
        assert (batch.num_lines, batch.num_completed, batch.num_failed) == (2, 1, 1)
        (one,) = await content(runs, batch.output_file_id)
        assert one["response"] == {
            "status_code": 200, "request_id": "req_1", "body": {"data": []},
        }  # fmt: skip
        (late,) = await content(runs, batch.error_file_id)
        assert late["custom_id"] == "1"
        assert late["response"] is None
        error = late["error"]
        assert isinstance(error, dict)
        assert error["code"] == "batch_expired"


async def test_a_batch_whose_file_is_deleted_fails(tmp_path: Path, database: str | None) -> None:
    async with opened(tmp_path, database) as runs:
        file = await kept(runs, "lines.jsonl", b"{}")
        await runs.batches.delete_file(file)
        batch = new_batch("ann", URL, file, "http://here", None)
        await runs.batches.begin(batch)
        failed = await ended(runs, batch)
        assert failed.status == "failed"
        assert [fault.code for fault in failed.faults] == ["input_file_gone"]


async def test_old_batches_and_expired_files_are_forgotten(
    tmp_path: Path, database: str | None
) -> None:
    async with opened(tmp_path, database) as runs:
        batch = await ended(runs, await begun(runs, "a cat"))
        expired = await kept(runs, "x", b"x", "user_data", time.time() - 1)
        assert await runs.batches.sweep(time.time() - 60) == 1
        assert await runs.batches.files.get(expired.key) is None
        assert await runs.batches.get(batch.id, "ann") == batch
        workflow = sa.exists().where(sa.column("workflow_uuid") == batch.id)
        known = sa.select(workflow.select_from(runs.durable._workflows))
        with runs.engine.connect() as connection:
            assert connection.execute(known).scalar()
        assert await runs.batches.sweep(time.time() + 1) == 3
        with runs.engine.connect() as connection:
            assert not connection.execute(known).scalar(), "dbos remembers"
        try:
            await runs.batches.get(batch.id, "ann")
        except NotFound:
            assert await runs.batches.sweep(time.time() + 1) == 0
        else:
            raise AssertionError("the batch is still there")


async def test_a_batch_outlives_its_input_file(tmp_path: Path, database: str | None) -> None:
    async with opened(tmp_path, database) as runs:
        batch = await begun(runs, "a cat", "never")

        async def one_is_answered() -> bool:
            return (await runs.batches.get(batch.id, "ann")).num_completed == 1

        await until(one_is_answered)
        await runs.batches.delete_file(await runs.batches.file(batch.input_file_id, "ann"))
    async with opened(tmp_path, database) as runs:
        await runs.batches.cancel(batch.id, "ann")
        cancelled = await ended(runs, batch)
        assert cancelled.status == "cancelled"
        (one,) = await content(runs, cancelled.output_file_id)
        assert one["custom_id"] == "0"

        async def the_copy_is_gone() -> bool:
            return await runs.batches.files.get(batch.input_key) is None

        await until(the_copy_is_gone)  # after the end is told


async def test_no_key_has_all_the_places_of_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable, "BATCHES_AT_ONCE", 3)
    monkeypatch.setattr(durable, "BATCHES_OF_A_KEY", 2)
    async with opened(tmp_path, None) as runs:
        endless = [await begun(runs, "never") for _ in range(4)]
        others = await begun(runs, "a cat", owner="bob")

        async def is_done() -> bool:
            return (await runs.batches.get(others.id, "bob")).status == "completed"

        await until(is_done)
        for batch in endless:
            assert not (await runs.batches.get(batch.id, "ann")).has_ended


async def test_a_key_has_only_so_many_lines_waiting(tmp_path: Path) -> None:
    async with opened(tmp_path, None, max_batch_lines=3) as runs:
        first = await begun(runs, "a cat", "never")

        async def one_is_answered() -> bool:
            return (await runs.batches.get(first.id, "ann")).num_completed == 1

        await until(one_is_answered)
        crowded = await ended(runs, await begun(runs, "a", "b", "c"))
        assert crowded.status == "failed"
        assert [fault.code for fault in crowded.faults] == ["request_limit_exceeded"]
        assert (await ended(runs, await begun(runs, "a", "b"))).status == "completed"


async def test_a_key_has_only_so_many_batches_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "OPEN_BATCHES", 1)
    async with opened(tmp_path, None) as runs:
        first = await begun(runs, "never")
        with pytest.raises(RateLimited):
            await begun(runs, "a cat")
        await runs.batches.cancel(first.id, "ann")
        await ended(runs, first)
        assert (await ended(runs, await begun(runs, "a cat"))).status == "completed"
