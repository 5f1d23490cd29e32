"""Who draws what: names that are lost and taken, two that draw one run, runs that crash us."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from gateway.runs.batches.records import Answer, Batch, Line
from gateway.runs.durable.claims import CRASHED, MAX_CRASHES, Claims
from gateway.runs.durable.database import LOCK_FAMILY
from gateway.runs.durable.slots import Slots
from gateway.runs.runs import Runs
from gateway.runs.store import Change
from tests.runs.batches import test_batch_work as batch_work
from tests.runs.house import OWNER, opened, order, until
from tests.small_engine import TestEngine

SLOW = "slow"


def lose(runs: Runs, data: Path) -> None:
    """End what holds the slot's lock, and not the process."""
    if runs.engine.dialect.name == "postgresql":
        with runs.engine.begin() as connection:
            connection.execute(
                sa.text(
                    "SELECT pg_terminate_backend(pid) FROM pg_locks"
                    f" WHERE locktype = 'advisory' AND classid = {LOCK_FAMILY} AND objid = 0"
                )
            )
    else:
        (data / "slots" / "0").unlink()


async def test_a_lost_lock_is_taken_again(tmp_path: Path, database: str | None) -> None:
    async with opened(tmp_path, database) as runs:
        lose(runs, tmp_path)

        async def is_held() -> bool:
            return not await runs.ground.ask(Slots(runs.engine, tmp_path).is_dead, "gateway-0")

        await until(is_held)
        assert runs.slot.name == "gateway-0"


async def test_a_name_that_another_has_taken_is_given_up(
    tmp_path: Path, database: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other draws what was being drawn, under the name; once, and we go on."""
    monkeypatch.setattr("gateway.runs.runs.SLOT_SECONDS", 0.05)
    monkeypatch.setattr("gateway.runs.runs.LOOK_SECONDS", 0.05)
    engine = TestEngine()
    async with opened(tmp_path, database, engine) as runs:
        (new,) = await runs.accept([order(SLOW)], OWNER)
        await until(lambda: asyncio.sleep(0, bool(engine.jobs)))
        slots = Slots(runs.engine, tmp_path)
        with monkeypatch.context() as patched:
            patched.setattr(runs.slot, "keep", lambda: True)  # slower than the other
            lose(runs, tmp_path)
            await until(lambda: runs.ground.ask(slots.is_dead, "gateway-0"))
            other = await runs.ground.ask(slots.take)
        assert other.name == "gateway-0"
        await until(lambda: asyncio.sleep(0, runs.slot.name == "gateway-1"))
        assert not runs.performer.held
        (again,) = await runs.accept([order()], OWNER)
        assert (await runs.wait(again.id, OWNER)).status == "success"
        other.release()
        assert (await runs.wait(new.id, OWNER)).status == "success"
        assert len(await runs.outputs(new.id)) == 1


async def test_only_who_holds_the_claim_ends_a_run(tmp_path: Path, database: str | None) -> None:
    engine = TestEngine()
    async with opened(tmp_path, database, engine) as runs:
        (new,) = await runs.accept([order(SLOW)], OWNER)
        await until(lambda: asyncio.sleep(0, new.id in runs.performer.held))
        mine = runs.performer.held[new.id]
        await runs.ground.ask(Claims(runs.engine).take, new.id)
        done = Change(status="success", live_status="by the first")
        assert not await runs.ground.ask(runs.store.change, new.id, done, mine)
        await until(lambda: asyncio.sleep(0, not runs.performer.held))
        run = await runs.get(new.id, OWNER)
        assert run is not None
        assert not run.has_ended


@asynccontextmanager
async def crashing(runs: Any, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Runs]:
    """Runs whose process gives nothing back at its end."""
    async with runs as opened_runs:
        monkeypatch.setattr(opened_runs, "_put_down", lambda: asyncio.sleep(0))
        yield opened_runs


async def more_than(number: int, count: Callable[[], int]) -> None:
    """Wait until a count is above a number."""
    await until(lambda: asyncio.sleep(0, count() > number))


async def test_a_run_in_flight_at_three_crashes_fails_and_says_so(
    tmp_path: Path, database: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others that were in flight beside it do not, and clean stops do not count."""
    engine = TestEngine()

    def begins(prompt: str) -> int:
        return sum(job.prompt == prompt for job in engine.jobs)

    bad, good = "slow and bad", "slow and good"
    ids: dict[str, str] = {}
    for life in range(MAX_CRASHES):
        before = {prompt: begins(prompt) for prompt in (bad, good)}
        async with crashing(opened(tmp_path, database, engine), monkeypatch) as runs:
            for prompt in (bad, good)[: 0 if ids else 2]:
                ids[prompt] = (await runs.accept([order(prompt)], OWNER))[0].id
            # After two crashes they are drawn one by one, in whichever order.
            for prompt in (bad, good)[: 1 if life == MAX_CRASHES - 1 else 2]:
                await more_than(before[prompt], partial(begins, prompt))
        async with opened(tmp_path, database, engine) as runs:
            pass
    async with opened(tmp_path, database, engine) as runs:
        run = await runs.wait(ids[bad], OWNER)
        assert (run.status, run.error) == ("failed", CRASHED)
        assert (await runs.wait(ids[good], OWNER)).status == "success"


async def test_a_line_in_flight_at_three_crashes_fails_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    async def answer(batch: Batch, line: Line) -> Answer:
        asked.append(line.id)
        if line.body["prompt"] == "never":
            await asyncio.Event().wait()
        return Answer(200, "req_1", (b"{}",))

    monkeypatch.setattr(batch_work, "answer", answer)
    for life in range(MAX_CRASHES):
        async with crashing(batch_work.opened(tmp_path, None), monkeypatch) as runs:
            if life == 0:
                batch = await batch_work.begun(runs, "a cat", "never", "a dog")
            await more_than(life, partial(asked.count, "1"))
    async with batch_work.opened(tmp_path, None) as runs:
        batch = await batch_work.ended(runs, batch)
        assert (batch.status, batch.num_completed, batch.num_failed) == ("completed", 2, 1)
        (line,) = await batch_work.content(runs, batch.error_file_id)
        assert (line["custom_id"], line["error"]) == ("1", {"code": "crashed", "message": CRASHED})
    assert asked.count("1") == MAX_CRASHES
