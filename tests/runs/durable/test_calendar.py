"""Clocks that jump delete nothing, and take nobody's time."""

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from gateway.runs.durable.calendar import Calendar
from gateway.runs.durable.database import open_database
from gateway.runs.durable.schema import runs as table
from gateway.settings import Settings
from tests.runs.batches.test_batch_work import begun, ended
from tests.runs.batches.test_batch_work import opened as opened_for_batches
from tests.runs.house import draw, opened, order

HOUR, DAY = 3600.0, 86400.0
START = 1_000_000_000.0


class Clock:
    """A machine's two clocks: one that anybody may set, one that nobody can."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        self.wall = START
        self.passed = 50.0

    def calendar(self) -> Calendar:
        """A calendar as a process makes it at its start."""
        return Calendar(self.engine, lambda: self.wall, lambda: self.passed)

    def pass_(self, seconds: float) -> None:
        self.wall += seconds
        self.passed += seconds


@pytest.fixture
def clock(tmp_path: Path) -> Any:
    engine = open_database(Settings(data=tmp_path))
    yield Clock(engine)
    engine.dispose()


def test_it_follows_a_clock_that_goes_right(clock: Clock) -> None:
    calendar = clock.calendar()
    for seconds in (1.0, 59.0, HOUR, 40 * DAY):
        clock.pass_(seconds)
        assert calendar.now() == clock.wall
    clock.wall += 120  # the time servers' little corrections are believed
    assert calendar.now() == clock.wall


def test_it_follows_a_jump_no_faster_than_twice_the_pace_of_time(clock: Clock) -> None:
    calendar = clock.calendar()
    clock.wall += 40 * DAY
    assert calendar.now() == START
    clock.pass_(DAY)
    assert calendar.now() == START + 2 * DAY
    clock.wall -= 40 * DAY
    assert calendar.now() == clock.wall == START + DAY
    clock.wall += 40 * DAY
    for _ in range(40):
        clock.pass_(DAY)
        calendar.now()
    assert calendar.now() == clock.wall


def test_it_is_never_ahead_of_the_clock(clock: Clock) -> None:
    calendar = clock.calendar()
    clock.wall -= 40 * DAY
    assert calendar.now() == clock.wall
    clock.wall += 40 * DAY
    assert calendar.now() == START - 40 * DAY


def test_a_restart_remembers_the_date(clock: Clock) -> None:
    clock.calendar().keep()
    clock.wall += 40 * DAY
    clock.passed = 3.0
    calendar = clock.calendar()
    assert calendar.now() == START
    clock.pass_(HOUR)
    assert calendar.now() == START + 2 * HOUR
    calendar.keep()
    assert clock.calendar().now() == START + 2 * HOUR


def test_seconds_left_are_neither_lost_nor_won(clock: Clock) -> None:
    calendar = clock.calendar()
    clock.pass_(70)
    assert calendar.seconds_left(START, 60) == 0
    assert calendar.seconds_left(START, 120) == 50
    clock.wall += 40 * DAY
    assert calendar.seconds_left(START, 120) == 50
    clock.wall -= 80 * DAY
    assert calendar.seconds_left(START, 60) == 60


def move_wall(calendar: Calendar, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    wall = calendar._wall
    monkeypatch.setattr(calendar, "_wall", lambda: wall() + seconds)


async def test_a_jump_sweeps_no_fresh_run(
    tmp_path: Path, database: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path, database) as runs:
        (run,) = await draw(runs, order())
        move_wall(runs.calendar, 40 * DAY, monkeypatch)
        await runs._sweep()
        assert await runs.get(run.id, run.owner) is not None
        old = sa.update(table).values(ended_at=run.created_at - 31 * DAY)
        with runs.engine.begin() as connection:
            connection.execute(old)
        await runs._sweep()
        assert await runs.get(run.id, run.owner) is None
    # A process that starts while the clock is wrong trusts it no more.
    later = run.created_at + 40 * DAY
    monkeypatch.setattr("gateway.runs.durable.calendar.time.time", lambda: later)
    async with opened(tmp_path, database) as runs:
        assert runs.calendar.now() < run.created_at + DAY


async def test_a_jump_expires_no_batch_and_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened_for_batches(tmp_path, None) as runs:
        promised = await runs.uploads.promise("ann", "image/png", "png", 1)
        move_wall(runs.calendar, 40 * DAY, monkeypatch)
        with monkeypatch.context() as patch:
            late = time.time() + 40 * DAY
            patch.setattr(time, "time", lambda: late)
            await runs.uploads.take(promised.key, _one_byte(), 1)
        batch = await ended(runs, await begun(runs, "a cat"))
        assert batch.status == "completed"
        await runs._sweep()
        assert (await runs.batches.file(batch.output_file_id or "", "ann")).size_bytes > 0


async def _one_byte() -> AsyncIterator[bytes]:
    yield b"x"
