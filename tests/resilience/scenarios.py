"""Every scenario in its long form, by name; the tests run the same functions with less."""

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from tests.resilience.kills import kills
from tests.resilience.row import Row
from tests.runs import postgres

Scenario = Callable[[Path], Coroutine[Any, Any, Row]]


async def kills_on_sqlite(folder: Path) -> Row:
    """A hundred kills."""
    return await kills(folder, None, num_kills=100)


async def kills_on_postgresql(folder: Path) -> Row:
    """A hundred kills."""
    with postgres.running() as server:
        return await kills(folder, server.new_database(), num_kills=100)


SCENARIOS: dict[str, Scenario] = {
    "kills-sqlite": kills_on_sqlite,
    "kills-postgresql": kills_on_postgresql,
}
