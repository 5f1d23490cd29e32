"""Queues are looked into when something has been put in, by whomever, and hardly else."""

import asyncio
import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from gateway.runs.durable.bell import BRISK_SECONDS, IDLE_SECONDS
from gateway.runs.durable.database import close_database, open_database
from gateway.runs.durable.queues import RUNS, Entry, Queues
from gateway.runs.runs import Runs
from gateway.runs.store import NewRun
from tests.runs.house import OWNER, opened, order

LISTENED_SECONDS = 1.5
MOST_IN_A_SECOND = 12
"""Of the gateway's own looks; four queues polled as they used to be asked for fifty."""


async def silence(runs: Runs) -> None:
    """Wait until nothing has rung for a while."""
    assert runs.durable._workers is not None
    bell = runs.durable._workers.bell
    async with asyncio.timeout(30):
        while time.monotonic() - bell.rang_at < BRISK_SECONDS + 0.5:
            await asyncio.sleep(0.1)


async def test_an_idle_process_asks_for_little_and_hears_of_anothers_run(
    tmp_path: Path, database: str | None
) -> None:
    async with opened(tmp_path, database) as runs:
        await silence(runs)
        asked: list[str] = []

        def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            asked.append(statement)

        sa.event.listen(runs.engine, "before_cursor_execute", note)
        await asyncio.sleep(LISTENED_SECONDS)
        assert len(asked) < MOST_IN_A_SECOND * LISTENED_SECONDS, asked
        run_id = await asyncio.to_thread(queue_by_another, runs)
        began = time.monotonic()
        run = await runs.wait(run_id, OWNER)
        assert run.status == "success"
        assert run.started_at is not None
        assert time.monotonic() - began < IDLE_SECONDS - 1


def queue_by_another(runs: Runs) -> str:
    """Accept a run as another process would, that has no room for it."""
    engine = open_database(runs.settings)
    queues = Queues(engine)

    def enqueue(connection: sa.Connection, new: Any) -> None:
        queues.put(connection, RUNS, [Entry(run_id, f"key {owner}") for run_id, owner in new])

    runs.store.__class__(engine, lambda *_: None).accept(
        [NewRun("elsewhere", OWNER, order(), begins="queue")], enqueue
    )
    close_database(engine)
    return "elsewhere"
