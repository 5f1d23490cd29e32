"""Limits of runs and of keys: what may begin beside what, in which order, after which crash."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa

from gateway.accounts.keys import KeyStore
from gateway.errors import RateLimited
from gateway.job import Event, Job
from gateway.runs.ordering import Wanted
from gateway.runs.places import Place, beginning
from gateway.runs.records import Order
from gateway.runs.runs import Runs
from gateway.runs.store import NewRun
from tests.runs.house import OWNER, draw, opened, order, until
from tests.small_engine import TestEngine


class Watched(TestEngine):
    """Writes down which runs, by their seeds, were being drawn whenever one began."""

    def __init__(self, step_seconds: float = 0.1) -> None:
        super().__init__(step_seconds)
        self.drawing: list[int] = []
        self.seen: list[list[int]] = []

    async def _events(self, job: Job) -> AsyncGenerator[Event, None]:
        self.drawing += job.seeds
        self.seen.append(sorted(self.drawing))
        try:
            async for event in super()._events(job):
                yield event
        finally:
            self.drawing = [seed for seed in self.drawing if seed not in job.seeds]


def place(
    name: str,
    limit: int | None = None,
    owner: str = "ann",
    subject: str = "tiny",
    num_samples: int = 1,
) -> Place:
    return Place(
        run_id=name, owner=owner, subject=subject, num_samples=num_samples, run_limit=limit
    )


@pytest.mark.parametrize(
    ("in_flight", "waiting", "expected"),
    [
        ([], [place("a", 1), place("b", 1)], "a"),
        ([], [place("a", 3), place("b", 3), place("c", 3), place("d", 3)], "abc"),
        ([place("x", 1)], [place("a", 3), place("b")], ""),
        ([place("x", 3)], [place("a", 1), place("b", 3)], ""),
        ([place("x", 3)], [place("a", 2), place("b", 3)], "a"),
        ([place("x"), place("y")], [place("a", 3), place("b", 3)], "a"),
        ([place("x", 1, subject="other")], [place("a", 1)], "a"),
        ([place("x", 1, owner="bob")], [place("a", 1)], "a"),
        ([place("x", 1)], [place("a", 1), place("b", 1, subject="other")], "b"),
    ],
)
def test_a_limit_bounds_all_runs_of_its_subject(
    in_flight: list[Place], waiting: list[Place], expected: str
) -> None:
    begun = beginning(waiting, in_flight, lambda _owner: None)
    assert "".join(found.run_id for found in begun) == expected


def test_a_key_draws_no_more_samples_than_it_may() -> None:
    limits = {"ann": 4}
    waiting = [
        place("a", num_samples=3),
        place("b", num_samples=2),
        place("c", num_samples=1),
        place("d", owner="bob", num_samples=9),
    ]
    assert [found.run_id for found in beginning(waiting, [], limits.get)] == ["a", "d"]
    assert [found.run_id for found in beginning(waiting[1:], [], limits.get)] == ["b", "c", "d"]
    over = [place("e", num_samples=40)]
    assert beginning(over, [], limits.get) == over
    assert beginning(over, [place("x")], limits.get) == []


async def all_done(runs: Runs, new: list[NewRun], owner: str = OWNER) -> None:
    for run in new:
        ended = await runs.wait(run.id, owner)
        assert ended.status == "success", ended.error


def test_runs_with_other_limits_and_with_none_keep_to_it(
    tmp_path: Path, database: str | None
) -> None:
    limits = [3, 3, 3, 3, 1, None, None, 2, 3]

    async def test() -> None:
        engine = Watched()
        async with opened(tmp_path, database, engine) as runs:
            new = []
            for seed, limit in enumerate(limits):
                new += await runs.accept([order(seed=seed, concurrency_limit=limit)], OWNER)
            await all_done(runs, new)
            for together in engine.seen:
                bound = min(limits[seed] or len(limits) for seed in together)
                assert len(together) <= bound, engine.seen
            assert max(map(len, engine.seen)) == 3
            begun = [job.seeds[0] for job in engine.jobs]
            assert sorted(begun) == list(range(len(limits)))
            assert begun.index(4) == 4
            assert not await asyncio.to_thread(runs.places.waiting)

    asyncio.run(test())


def test_a_keys_batch_waits_for_its_samples(tmp_path: Path, database: str | None) -> None:
    key, _ = KeyStore(tmp_path).create("small", concurrent_samples=2)

    async def test() -> None:
        engine = Watched()
        async with opened(tmp_path, database, engine) as runs:
            new = await runs.accept([order(seed=seed) for seed in range(7)], key.id)
            (free,) = await draw(runs, order(seed=99))
            assert free.status == "success"
            await all_done(runs, list(new), key.id)
            of_key = [[seed for seed in together if seed != 99] for together in engine.seen]
            assert max(map(len, of_key)) == 2

    asyncio.run(test())


def test_a_run_of_more_samples_than_its_key_may_draw_draws_them_in_parts(tmp_path: Path) -> None:
    key, _ = KeyStore(tmp_path).create("small", concurrent_samples=2)
    inputs = {"prompt": "a cat", "seed": 10, "n": 5}
    wanted = Wanted(order=Order(), model_id="tiny", inputs=inputs)

    async def test() -> None:
        engine = TestEngine()
        async with opened(tmp_path, None, engine) as runs:
            orders = await runs.ordering.orders(wanted, key.id, lambda _model: None)
            assert orders[0].num_samples == 5
            (new,) = await runs.accept(orders, key.id)
            await all_done(runs, [new], key.id)
            assert [job.seeds for job in engine.jobs] == [(10, 11), (12, 13), (14,)]
            ((made),) = await runs.outputs(new.id)
            assert [item.seed for item in made.items] == [10, 11, 12, 13, 14]

    asyncio.run(test())


def test_those_who_wait_are_let_in_by_the_next_process(
    tmp_path: Path, database: str | None
) -> None:
    async def test() -> None:
        async with opened(tmp_path, database) as runs:
            orders = [order("slow", seed=seed, concurrency_limit=1) for seed in range(3)]
            new = [run for each in orders for run in await runs.accept([each], OWNER)]
            await until(lambda: asyncio.sleep(0, bool(runs.performer.held)))
        engine = Watched()
        async with opened(tmp_path, database, engine) as runs:
            await all_done(runs, new)
            assert engine.seen == [[0], [1], [2]]

    asyncio.run(test())


def test_cancelling_gives_a_place_back(tmp_path: Path) -> None:
    async def test() -> None:
        engine = Watched()
        async with opened(tmp_path, None, engine) as runs:
            names = ["slow", "never", "cat"]
            new = []
            for seed, name in enumerate(names):
                limited = order(name, seed=seed, concurrency_limit=1)
                new += await runs.accept([limited], OWNER)

            async def is_drawing() -> bool:
                return bool(engine.drawing)

            await until(is_drawing)
            assert await runs.cancel(new[1].id)
            assert await runs.cancel(new[0].id)
            await all_done(runs, [new[2]])
            assert [job.prompt for job in engine.jobs] == ["slow", "cat"]

    asyncio.run(test())


def test_a_long_queue_of_one_key_is_no_other_keys(tmp_path: Path, database: str | None) -> None:
    async def test() -> None:
        engine = Watched(0.05)

        async def is_drawing() -> bool:
            return len(engine.drawing) == 2

        async with opened(tmp_path, database, engine, max_batch=2) as runs:
            await runs.accept([order(seed=seed) for seed in range(60)], OWNER)
            await until(is_drawing)
            [other] = await runs.accept([order(seed=99)], "bob")
            await runs.wait(other.id, "bob")
            assert len(engine.jobs) < 40

    asyncio.run(test())


def test_two_processes_give_no_place_twice(tmp_path: Path, database: str | None) -> None:
    async def test() -> None:
        async with opened(tmp_path, database) as runs:
            wanted = [order("slow", seed=seed, concurrency_limit=1) for seed in range(4)]
            given: list[str] = []

            def note(_: sa.Connection, chosen: Sequence[tuple[str, str]]) -> None:
                given.extend(run_id for run_id, _ in chosen)

            new = [NewRun(f"run-{n}", OWNER, each, None, "turn") for n, each in enumerate(wanted)]
            for task in runs._tasks:
                task.cancel()
            await asyncio.to_thread(runs.store.accept, new, runs.durable.enqueue_runs)
            await asyncio.gather(*(asyncio.to_thread(runs.places.give, note) for _ in range(6)))
            assert given == ["run-0"]

    asyncio.run(test())


def test_a_long_line_is_let_in_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.runs.places.LOOKED_AT", 2)

    async def test() -> None:
        engine = Watched()
        async with opened(tmp_path, None, engine) as runs:
            wanted = [order(seed=seed, concurrency_limit=7) for seed in range(9)]
            await all_done(runs, await runs.accept(wanted, OWNER))
            assert max(map(len, engine.seen)) == 7

    asyncio.run(test())


async def test_a_key_has_only_so_many_runs_open(tmp_path: Path, database: str | None) -> None:
    async with opened(tmp_path, database, max_open_runs=3) as runs:
        (slow,) = await runs.accept([order("slow")], OWNER)
        with pytest.raises(RateLimited) as refused:
            await runs.accept([order("slow", seed=seed) for seed in range(3)], OWNER)
        assert refused.value.retry_after_seconds == 60
        await runs.accept([order(seed=seed) for seed in range(3)], "bob")
        await runs.cancel(slow.id)
        done = await draw(runs, *(order(seed=seed) for seed in range(3)))
        assert {run.status for run in done} == {"success"}
