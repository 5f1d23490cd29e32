"""A batch of any size is accepted by the same few statements, and drawn whole and in order."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from gateway.runs.store import NewRun
from tests.runs.house import OWNER, draw, opened, order
from tests.small_engine import TestEngine

MOST_STATEMENTS = 14
"""Four of the gateway's own; dbos's four and, to a server, a notice for each of two queues."""


@contextmanager
def statements(engine: sa.Engine) -> Iterator[list[str]]:
    """Those of this thread; one executed with many rows goes to a server as one message."""
    found: list[str] = []
    mine = threading.get_ident()

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if threading.get_ident() == mine:
            found.append(statement)

    sa.event.listen(engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)


@pytest.mark.parametrize("begins", ["queue", "turn"])
def test_statements_are_as_few_for_many_runs(
    tmp_path: Path, database: str | None, begins: Any
) -> None:
    async def test() -> None:
        async with opened(tmp_path, database) as runs:
            wanted = order(webhook="http://127.0.0.1:9/taken")
            new = [NewRun(f"run-{n}", OWNER, wanted, "batch", begins) for n in range(110)]
            with statements(runs.engine) as few:
                runs.store.accept(new[:10], runs.durable.enqueue_runs)
            with statements(runs.engine) as many:
                runs.store.accept(new[10:], runs.durable.enqueue_runs)
            assert len(many) == len(few) <= MOST_STATEMENTS, many

    asyncio.run(test())


async def test_a_batch_that_is_queued_is_drawn_whole_and_in_order(
    tmp_path: Path, database: str | None
) -> None:
    engine = TestEngine()
    async with opened(tmp_path, database, engine, max_batch=1) as runs:
        done = await draw(runs, *(order(seed=seed) for seed in range(12)))
    assert {run.status for run in done} == {"success"}
    assert [job.seeds[0] for job in engine.jobs] == list(range(12))
