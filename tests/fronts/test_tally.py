"""A key's limits hold in sum over fronts, for few questions to the database."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from uuid import uuid4

import pytest
import sqlalchemy as sa

from gateway.fronts import tally
from gateway.fronts.counts import HELD_SECONDS, Counts, Grant, Held
from gateway.fronts.tally import SharedTally
from gateway.job import Priority
from gateway.runs.durable.database import close_database, open_database
from gateway.runs.durable.schema import samples
from gateway.settings import Settings
from tests.runs import postgres


class Watched(Counts):
    """Counts how often it is asked."""

    num_asked = 0

    def grant(self, owner: str, limit: int, needed: int, more: int) -> Grant:
        self.num_asked += 1
        return super().grant(owner, limit, needed, more)

    def hold(self, owner: str, limit: int, priority: Priority, held: Held) -> bool:
        self.num_asked += 1
        return super().hold(owner, limit, priority, held)


class Front(SharedTally):
    """One of several, with connections of its own; all of a test's ask for one key."""

    def __init__(self, url: str, key: str, num_fronts: int) -> None:
        self.engine = sa.create_engine(url)
        self.watched = Watched(self.engine, uuid4().hex)
        self.key = key
        super().__init__(self.watched)
        self.num_fronts = num_fronts

    async def asked(self, limit: int, times: int) -> int:
        """How many of so many requests at once are let in."""
        counted = await asyncio.gather(*(self.count(self.key, limit, 1) for _ in range(times)))
        assert all(seconds is None or 0 < seconds <= 60 for seconds in counted)
        return counted.count(None)

    def held(
        self, limit: int, num: int, priority: Priority = "interactive"
    ) -> AbstractAsyncContextManager[bool]:
        """Hold samples while a block lasts."""
        return self.holding(self.key, priority, limit, num)

    async def can_hold(self, limit: int, num: int, priority: Priority = "interactive") -> bool:
        """Whether samples could be held now."""
        async with self.held(limit, num, priority) as is_held:
            return is_held


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine's database is not away."""
    monkeypatch.setattr(tally, "PATIENCE_SECONDS", 60.0)


@pytest.fixture(scope="module")
def url(postgres_server: postgres.Server, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database with the gateway's tables."""
    database = postgres_server.new_database()
    data = tmp_path_factory.mktemp("tables")
    close_database(open_database(Settings(data=data, database=database)))
    return str(database).replace("postgresql://", "postgresql+psycopg://")


@asynccontextmanager
async def fronts(url: str, num: int) -> AsyncIterator[list[Front]]:
    """Some at one database, of which a key asks that nobody else has."""
    key = uuid4().hex
    made = [Front(url, key, num) for _ in range(num)]
    try:
        yield made
    finally:
        for front in made:
            await front.close()
            front.engine.dispose()


async def test_requests_a_minute_are_counted_in_sum(url: str) -> None:
    async with fronts(url, 3) as three:
        let_in = await asyncio.gather(*(front.asked(60, 50) for front in three))
        assert 54 <= sum(let_in) <= 60
        num_asked = sum(front.watched.num_asked for front in three)
        assert await asyncio.gather(*(front.asked(60, 50) for front in three)) == [0, 0, 0]
        assert sum(front.watched.num_asked for front in three) <= num_asked + 3


@pytest.mark.parametrize("limit", [1, 7, 60, 1000])
async def test_one_front_alone_may_have_all_of_a_limit(
    url: str, limit: int
) -> None:
    async with fronts(url, 3) as (one, other, _):
        assert await other.count(one.key, limit, 1) is None
        found = [await one.count(one.key, limit, 1) for _ in range(limit + 5)]
        assert limit * 0.9 - 1 <= found.count(None) <= limit - 1
        if limit == 1000:
            assert one.watched.num_asked <= 40


async def test_a_request_of_many_runs_is_let_in_whole_or_not(url: str) -> None:
    async with fronts(url, 2) as (one, other):
        assert await one.count(one.key, 10, 6) is None
        assert await other.count(one.key, 10, 6) is not None
        assert await other.count(one.key, 10, 4) is None
        assert await one.count(one.key, 10, 1) is not None


async def test_samples_at_once_are_counted_in_sum(url: str) -> None:
    async with fronts(url, 2) as (one, other):
        async with one.held(4, 3) as is_held:
            assert is_held
            assert not await other.can_hold(4, 2)
            assert await other.can_hold(4, 1)
            assert not await one.can_hold(4, 2)
        assert await other.can_hold(4, 4), "what ended before is free at once"
        async with one.held(4, 4, "batch") as is_held:
            assert is_held
            assert await other.can_hold(4, 4), "batches take no room from people"
            assert not await other.can_hold(4, 1, "batch")


async def test_no_more_than_the_limit_draw_at_any_moment(url: str) -> None:
    everybody_asked = asyncio.Event()
    asked: list[bool] = []

    async def draw(front: Front) -> None:
        async with front.held(5, 1) as is_held:
            asked.append(is_held)
            if len(asked) == 60:
                everybody_asked.set()
            if is_held:
                await everybody_asked.wait()

    async with fronts(url, 3) as three:
        await asyncio.gather(*(draw(front) for front in three for _ in range(20)))
        assert asked.count(True) == 5
        assert await three[0].can_hold(5, 5)


async def test_a_large_limits_samples_stay_at_hand(url: str) -> None:
    async with fronts(url, 2) as (one, other):
        for _ in range(20):
            assert await one.can_hold(100, 1)
        assert one.watched.num_asked == 1
        assert await other.can_hold(100, 90)
        await one.keep()
        assert await other.can_hold(100, 100), "what is not used is given back"


async def test_a_front_that_is_gone_holds_nothing_for_long(url: str) -> None:
    async with fronts(url, 2) as (gone, other):
        async with gone.held(2, 2) as is_held:
            assert is_held
            assert not await other.can_hold(2, 1)
            pass_time(other.engine, HELD_SECONDS)
            assert await other.can_hold(2, 2)
            await gone.keep()  # it was only asleep: what it draws counts again
            assert not await other.can_hold(2, 1)
            await other.keep()
            assert not await other.can_hold(2, 1)
        assert await other.can_hold(2, 2)


def pass_time(engine: sa.Engine, seconds: float) -> None:
    """Have all that fronts hold be held for so many seconds less."""
    with engine.begin() as connection:
        connection.execute(sa.update(samples).values(until=samples.c.until - seconds))


async def test_without_the_database_each_front_has_its_part() -> None:
    front = Front(f"postgresql+psycopg://postgres@127.0.0.1:{postgres.free_port()}/none", "key", 3)
    assert await front.asked(60, 30) == 20
    async with front.held(6, 2) as first, front.held(6, 1) as second:
        assert (first, second) == (True, False)
    await front.close()
