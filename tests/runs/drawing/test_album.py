"""Runs that ask for more than there is: they fail, wait or go, and leave nothing behind."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from gateway.runs.records import Order
from tests.resilience import corpus
from tests.runs.house import OWNER, draw, opened, order, until
from tests.small_engine import TestEngine


def test_a_graph_stored_before_there_were_bounds_fails_when_it_is_drawn(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path, None) as runs:
            [run] = await draw(runs, Order(graph=corpus.doubled_strings("tiny")))
            assert run.status == "failed"
            assert "32,768 characters of a text" in (run.error or "")

    asyncio.run(test())


def test_a_run_beyond_its_memory_fails_and_holds_nothing(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path, None, run_picture_mib=0.01) as runs:
            [run] = await draw(runs, order())
            assert (run.status, "MiB" in (run.error or "")) == ("failed", True)
            assert runs.performer.equipment.darkroom.used_bytes == 0

    asyncio.run(test())


@pytest.mark.parametrize("is_cancelled", [True, False])
def test_a_run_waits_for_memory_and_can_be_cancelled_there(
    tmp_path: Path, is_cancelled: bool
) -> None:
    engine = TestEngine()

    async def test() -> None:
        async with opened(tmp_path, None, engine, picture_mib=1, run_picture_mib=1) as runs:
            darkroom = runs.performer.equipment.darkroom
            with darkroom.share() as other:
                await other.take(2**20)
                [new] = await runs.accept([order()], OWNER)
                await until(lambda: _is_waiting(darkroom))
                assert not engine.jobs
                if is_cancelled:
                    assert await runs.cancel(new.id)
                    await until(lambda: _has_gone(runs, new.id))
            run = await runs.wait(new.id, OWNER)
            assert run.status == ("cancelled" if is_cancelled else "success")
            await until(lambda: _has_gone(runs, new.id))
            assert darkroom.used_bytes == 0

    asyncio.run(test())


async def _is_waiting(darkroom: Any) -> bool:
    return bool(darkroom._waiting)


async def _has_gone(runs: Any, run_id: str) -> bool:
    return run_id not in runs.performer.tasks
