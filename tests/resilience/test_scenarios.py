"""Scenarios in their short form; the long ones are `python -m tests.resilience`.

Small requests and fairness have theirs in tests of their own, within one process.
"""

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from tests.resilience.clocks import clocks
from tests.resilience.crowd import crowd
from tests.resilience.descriptors import descriptors
from tests.resilience.disk import full_disk
from tests.resilience.fronts import fronts_and_database_killed
from tests.resilience.kills import kills
from tests.resilience.outages import outages
from tests.resilience.receivers import hostile_receivers
from tests.resilience.replicas import kill, pause, struck
from tests.resilience.row import Row
from tests.resilience.soak import soak

SMALL_ENGINE = ""
SHORT: dict[str, Callable[[Path], Coroutine[Any, Any, Row]]] = {
    "a full disk": lambda folder: full_disk(folder, times=1, seconds=3),
    "no descriptors": lambda folder: descriptors(folder, limit=128, num_connections=160, seconds=3),
    "fronts that die, and their database": lambda folder: fronts_and_database_killed(folder, 1),
    "a database that restarts": lambda folder: outages(folder, (2, 1)),
    "a clock that jumps": lambda folder: clocks(folder, None, rounds=1, seconds=1, restarts=True),
    "slow clients": lambda folder: crowd(folder, 200, head_seconds=2, stall_seconds=3),
    "hostile receivers": lambda folder: hostile_receivers(folder, num_runs=1, seconds=3),
    "replicas killed and stopped": lambda folder: struck(folder, [kill, pause, kill], ""),
    "many pictures": lambda folder: soak(folder, 400, SMALL_ENGINE),
}


async def test_killed_at_random_moments(tmp_path: Path, database: str | None) -> None:
    row = await kills(tmp_path, database, num_kills=4)
    assert row.faults == ()


@pytest.mark.parametrize("name", SHORT)
async def test_held_under(name: str, tmp_path: Path) -> None:
    row = await SHORT[name](tmp_path)
    assert row.faults == (), row.seen
