"""Scenarios in their short form; the long ones are `python -m tests.resilience`.

Small requests and fairness have theirs in tests of their own, within one process.
"""

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from tests.resilience.crowd import crowd
from tests.resilience.kills import kills
from tests.resilience.receivers import hostile_receivers
from tests.resilience.row import Row
from tests.resilience.soak import soak

SMALL_ENGINE = ""
SHORT: dict[str, Callable[[Path], Coroutine[Any, Any, Row]]] = {
    "slow clients": lambda folder: crowd(folder, 200, head_seconds=2, stall_seconds=3),
    "hostile receivers": lambda folder: hostile_receivers(folder, num_runs=1, seconds=3),
    "many pictures": lambda folder: soak(folder, 400, SMALL_ENGINE),
}


async def test_killed_at_random_moments(tmp_path: Path, database: str | None) -> None:
    row = await kills(tmp_path, database, num_kills=5)
    assert row.faults == ()


@pytest.mark.parametrize("name", SHORT)
async def test_held_under(name: str, tmp_path: Path) -> None:
    row = await SHORT[name](tmp_path)
    assert row.faults == (), row.seen
