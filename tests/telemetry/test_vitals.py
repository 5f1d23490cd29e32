"""Vital signs: cheap to ask for, honest about what hangs."""

import asyncio

import pytest

from gateway.errors import StoreUnavailable
from gateway.telemetry import vitals
from gateway.telemetry.vitals import Vitals


async def test_many_who_ask_are_told_of_one_look() -> None:
    looks = []

    async def look() -> None:
        looks.append(1)

    signs = Vitals()
    signs.watch("store", look, is_vital=True)
    found = await asyncio.gather(*(signs.health() for _ in range(20)))
    assert {one.status for one in found} == {"ok"}
    assert len(looks) == 1


async def test_a_look_that_hangs_holds_nobody_up_and_is_not_begun_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(vitals, "PATIENCE_SECONDS", 0.01)
    answer, looks = asyncio.Event(), []

    async def look() -> None:
        looks.append(1)
        await answer.wait()

    signs = Vitals()
    signs.watch("database", look, is_vital=True, fresh_seconds=0)
    for _ in range(3):
        found = await asyncio.wait_for(signs.health(), 5)
        assert found.status == "failing"
        assert found.checks["database"].startswith("no answer for")
    assert len(looks) == 1
    answer.set()
    await asyncio.sleep(0)
    assert (await signs.health()).status == "ok"


async def test_what_a_look_raises_is_told_without_its_secrets() -> None:
    async def of_ours() -> None:
        raise StoreUnavailable("The store does not answer: it takes too long.")

    async def of_another() -> None:
        raise OSError("password of host db.internal is hunter2")

    signs = Vitals()
    signs.watch("store", of_ours, is_vital=True)
    signs.watch("database", of_another, is_vital=True)
    found = await signs.health()
    assert found.checks == {
        "store": "The store does not answer: it takes too long.",
        "database": "OSError",
    }


async def test_what_pictures_are_drawn_without_leaves_it_ready() -> None:
    states: dict[str, str | None] = {"engine": None, "database": None}
    signs = Vitals()

    async def engine() -> str | None:
        return states["engine"]

    async def database() -> str | None:
        return states["database"]

    signs.watch("engine", engine, is_vital=True, fresh_seconds=0)
    signs.watch("database", database, is_vital=False, fresh_seconds=0)
    found = {}
    for engine_state in (None, "loading", "hangs"):
        for database_state in (None, "away"):
            states |= {"engine": engine_state, "database": database_state}
            health = await signs.health()
            found[engine_state, database_state] = (health.status, health.is_ready)
    assert found == {
        (None, None): ("ok", True),
        (None, "away"): ("impaired", True),
        ("loading", None): ("loading", False),
        ("loading", "away"): ("loading", False),
        ("hangs", None): ("failing", False),
        ("hangs", "away"): ("failing", False),
    }
