"""What a process left, whether it ended or died, is drawn by the next and by those that live."""

import asyncio
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa

from gateway.runs.durable.slots import Slots
from gateway.runs.mending import LOOKS_AT_OTHERS
from gateway.runs.runs import Runs
from tests.runs.house import OWNER, opened, order, pictures, until


def test_what_was_unfinished_is_drawn_by_the_next_process(
    tmp_path: Path, database: str | None
) -> None:
    async def test() -> None:
        async with opened(tmp_path, database) as runs:
            new = await runs.accept([order("slow", seed=1), order("slow", seed=2)], OWNER)
            (alone,) = await runs.accept([order("slow", seed=3)], OWNER)
            await asyncio.sleep(0.15)
        async with opened(tmp_path, database) as runs:
            for run_id in [new[0].id, new[1].id, alone.id]:
                run = await runs.wait(run_id, OWNER)
                assert run.status == "success"
                assert len(await pictures(runs, run_id)) == 1

    asyncio.run(test())


def test_what_an_older_release_left_is_drawn_by_the_next(tmp_path: Path) -> None:
    """Whether queued or in flight: both wear a version, which has to be every release's."""
    as_released = sa.text(
        "UPDATE workflow_status SET application_version = '1' "
        "WHERE status IN ('ENQUEUED', 'PENDING')"
    )

    async def test() -> None:
        async with opened(tmp_path, None) as runs:
            new = await runs.accept([order("slow", seed=seed) for seed in range(6)], OWNER)
            (alone,) = await runs.accept([order("slow", seed=6)], OWNER)
            await until(partial(_is_going_on, runs, alone.id))
        engine = sa.create_engine(f"sqlite:///{tmp_path / 'runs.sqlite'}")
        with engine.begin() as connection:
            assert connection.execute(as_released).rowcount == 7
        engine.dispose()
        async with opened(tmp_path, None) as runs:
            async with asyncio.timeout(300):
                for run_id in [*(one.id for one in new), alone.id]:
                    assert (await runs.wait(run_id, OWNER)).status == "success"

    asyncio.run(test())


async def _is_going_on(runs: Runs, run_id: str) -> bool:
    return run_id in runs.durable.doing


async def _nothing(_run_id: str) -> None:
    pass


def test_a_run_that_was_written_and_never_started_is_started(
    tmp_path: Path, database: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        async with opened(tmp_path, database) as runs:
            monkeypatch.setattr(runs.durable, "start_run", _nothing)
            (new,) = await runs.accept([order()], OWNER)
        async with opened(tmp_path, database) as runs:
            assert (await runs.wait(new.id, OWNER)).status == "success"

    asyncio.run(test())


def test_a_run_that_another_process_never_started_is_started_by_the_living(
    tmp_path: Path, database: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        async with opened(tmp_path, database) as runs:
            with monkeypatch.context() as patched:
                patched.setattr(runs.durable, "start_run", _nothing)
                (new,) = await runs.accept([order()], OWNER)
            await runs._mend()
            run = await runs.get(new.id, OWNER)
            assert run is not None
            assert run.status == "queued"
            await runs._mend()
            assert (await runs.wait(new.id, OWNER)).status == "success"

    asyncio.run(test())


def test_a_run_whose_workflow_ended_without_it_is_started_again(
    tmp_path: Path, database: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        async with opened(tmp_path, database) as runs:
            monkeypatch.setattr(runs.performer, "perform", _nothing)
            (new,) = await runs.accept([order()], OWNER)
            await asyncio.sleep(0.3)
        async with opened(tmp_path, database) as runs:
            assert (await runs.wait(new.id, OWNER)).status == "success"

    asyncio.run(test())


def test_what_a_dead_process_left_is_taken_over_by_a_living_one(
    tmp_path: Path, database: str | None
) -> None:
    async def test() -> None:
        async with opened(tmp_path, database) as runs:
            slots = Slots(runs.engine, tmp_path)
            held = slots.take()
            assert held.name == "gateway-1"
            assert not slots.is_dead(held.name)
            held.release()
            await until(lambda: asyncio.sleep(0, slots.is_dead("gateway-1")))
            assert not slots.is_dead("gateway-0")

            (new,) = await runs.accept([order("slow")], OWNER)
            await asyncio.sleep(0.1)
            await runs.durable.shut_down()
            runs.slot.release()
            (taken, runs.slot) = (slots.take(), slots.take())
            await runs.durable.launch(runs, runs.slot.name)
            for _ in range(LOOKS_AT_OTHERS):
                await runs._mend()
            assert not runs.durable.doing
            taken.release()
            for _ in range(LOOKS_AT_OTHERS):
                await runs._mend()
            assert (await runs.wait(new.id, OWNER)).status == "success"
            assert len(await pictures(runs, new.id)) == 1

    asyncio.run(test())
