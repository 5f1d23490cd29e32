"""Over several replicas: what one leaves behind is drawn elsewhere, to the same picture."""

import asyncio
from collections import Counter
from functools import partial
from typing import Any
from uuid import uuid4

import pytest

from gateway.catalog.catalog import Catalog
from gateway.catalog.collection import Collection
from gateway.cluster.engine import ClusterEngine
from gateway.engine.protocol import Replicated
from gateway.errors import DeadlineExceeded, GenerationFailed, NotFound, Overloaded
from gateway.job import Event, Failed, Finished, Job, Preview, StepDone
from gateway.settings import Settings
from tests.cluster.conftest import SHORT, Crew
from tests.cluster.near import NearGround, NearLink
from tests.engine.small import SmallEngine
from tests.runs.house import until

LONG = 400


def job(*seeds: int, steps: int = 5, **more: Any) -> Job:
    facts: dict[str, Any] = {
        "id": uuid4().hex, "endpoint": "sd", "prompt": "a cat", "seeds": seeds or (1,),
        "num_inference_steps": steps, "width": 16, "height": 16,
    }  # fmt: skip
    return Job(**(facts | more))


async def drawn(engine: ClusterEngine, one: Job) -> list[Event]:
    return [event async for event in engine.submit(one)]


def pictures(events: list[Event]) -> dict[int, bytes]:
    return {one.sample: one.pixels.data for one in events if isinstance(one, Finished)}


def check_order(events: list[Event], num_samples: int) -> None:
    """Every sample has one end, and what is told of it only goes forward."""
    for number in range(num_samples):
        own = [event for event in events if event.sample == number]
        steps = [event.step for event in own if isinstance(event, StepDone)]
        previews = [event.index for event in own if isinstance(event, Preview)]
        assert steps == sorted(set(steps))
        assert previews == sorted(set(previews))
        assert [isinstance(event, Finished | Failed) for event in own].count(True) == 1
        assert isinstance(own[-1], Finished | Failed)


async def ready(engine: ClusterEngine, number: int = 2, seconds: float = 60) -> None:
    async def look() -> bool:
        return Counter(one.standing for one in engine.status().replicas)["ready"] == number

    await until(look, seconds)


async def busy(ground: NearGround, *places: str) -> None:
    """Wait until some replicas have begun to draw something."""

    async def look() -> bool:
        engines = [ground.latest(place).engine for place in places]
        return all(one.inside and one.inside[0].num_steps_done for one in engines)  # type: ignore[attr-defined]

    await until(look)


async def test_the_samples_of_a_job_keep_every_replica_busy(crew: Crew) -> None:
    async with crew() as (engine, ground):
        await ready(engine)
        await drawn(engine, job())  # how long a step takes is known now
        await ready(engine)
        events = await drawn(engine, job(1, 2, 3, 4, num_previews=1))
        check_order(events, 4)
        assert pictures(events) == {n: bytes((n + 1,)) * 768 for n in range(4)}
        assert {link.num_drawn > 0 for link in ground.links} == {True}


async def test_what_a_lost_replica_drew_is_drawn_elsewhere_to_the_same_picture(crew: Crew) -> None:
    async with crew() as (engine, ground):
        await ready(engine)
        wanted = await drawn(engine, job(5, 6, 7, 8, steps=LONG, num_previews=2))
        again = asyncio.create_task(
            drawn(engine, job(5, 6, 7, 8, steps=LONG, num_previews=2))
        )
        await busy(ground, "a")
        ground.latest("a").die()
        events = await again
        check_order(events, 4)
        assert pictures(events) == pictures(wanted)
        steps = [event.step for event in events if isinstance(event, StepDone)]
        assert Counter(steps) == dict.fromkeys(range(1, LONG + 1), 4)
        await ready(engine)
        assert len([link for link in ground.links if link.name.startswith("a/")]) == 2


async def test_a_sample_that_has_ended_is_not_drawn_again(crew: Crew) -> None:
    async with crew(names=("a",)) as (engine, ground):
        events = engine.submit(job(1, 2, 3))  # two at once: the third comes later
        told = [await anext(events) for _ in range(13)]
        ended = {event.sample for event in told if isinstance(event, Finished)}
        assert ended
        ground.latest("a").die()
        told += [event async for event in events]
        check_order(told, 3)
        [second] = [link for link in ground.links if link.name == "a/2"]
        assert second.num_drawn == 1


async def test_a_job_that_two_replicas_end_with_is_failed(crew: Crew) -> None:
    async with crew() as (engine, ground):
        await ready(engine)
        events = asyncio.create_task(drawn(engine, job(steps=10 * LONG)))
        for _ in range(2):
            async def look() -> Any:
                alive = (one for one in ground.links if not one.is_dead)
                return next((one for one in alive if one.engine.inside), None)  # type: ignore[attr-defined]

            (await until(look)).die()
        [*_, end] = await events
        assert isinstance(end, Failed)
        assert isinstance(end.error(), GenerationFailed)
        await ready(engine)
        assert pictures(await drawn(engine, job()))


class Poisoned(SmallEngine):
    """An engine whose process ends when it draws a prompt."""

    die: Any = None

    def advance(self, drawing: Any) -> None:
        if drawing.job.prompt == "poison":
            self.die()
        else:
            super().advance(drawing)


async def test_who_draws_beside_what_ends_replicas_is_not_failed_with_it(crew: Crew) -> None:
    def make(collection: Collection) -> SmallEngine:
        engine = Poisoned(collection, max_batch=8)
        engine.die = lambda: next(one for one in ground.links if one.engine is engine).die()
        return engine

    async with crew(make) as (engine, ground):
        await ready(engine)
        innocent = [asyncio.create_task(drawn(engine, job(n, steps=30))) for n in range(12)]
        [*_, end] = await drawn(engine, job(prompt="poison"))
        assert isinstance(end, Failed)
        assert end.code == "generation_failed"
        for number, events in enumerate(await asyncio.gather(*innocent)):
            assert pictures(events) == {0: bytes((number,)) * 768}
        assert len(ground.links) <= 6  # three that ended, at most: it is not tried for ever


async def test_a_replica_that_hangs_is_replaced_and_its_work_drawn_elsewhere(crew: Crew) -> None:
    async with crew() as (engine, ground):
        await ready(engine)
        again = asyncio.create_task(drawn(engine, job(1, 2, 3, 4, steps=LONG)))
        await busy(ground, "a")
        first = ground.latest("a")
        first.hang()
        events = await again
        check_order(events, 4)
        assert len(pictures(events)) == 4
        await ready(engine)
        assert ground.latest("a") is not first


async def test_a_replica_that_answers_again_in_time_is_kept(crew: Crew) -> None:
    async with crew() as (engine, ground):
        await ready(engine)
        again = asyncio.create_task(drawn(engine, job(1, 2, 3, 4, steps=LONG)))
        await busy(ground, "a")
        ground.latest("a").hang()

        async def silent() -> bool:
            return engine._crew.members[0].is_silent

        await until(silent)
        ground.latest("a").go_on()
        check_order(await again, 4)
        assert len(ground.links) == 2


async def test_a_drained_replica_finishes_and_is_not_followed(crew: Crew) -> None:
    async with crew() as (engine, ground):
        assert isinstance(engine, Replicated)
        await ready(engine)
        events = asyncio.create_task(drawn(engine, job(1, 2, 3, 4, steps=50)))
        await busy(ground, "a")
        await engine.drain("a")
        assert {one.name: one.standing for one in engine.status().replicas}["a"] == "ended"
        check_order(await events, 4)
        assert len(pictures(await drawn(engine, job(1, 2)))) == 2
        assert len(ground.links) == 2
        await engine.restart("a")
        await ready(engine)
        with pytest.raises(NotFound):
            await engine.drain("no such")


async def test_work_that_outlasts_the_grace_moves(crew: Crew) -> None:
    async with crew(grace_seconds=0.05) as (engine, ground):
        await ready(engine)
        events = asyncio.create_task(drawn(engine, job(1, 2, 3, 4, steps=LONG)))
        await busy(ground, "a")
        await engine.drain("a")
        told = await events
        check_order(told, 4)
        assert len(pictures(told)) == 4


async def test_restarting_all_under_load_loses_nothing(crew: Crew) -> None:
    async with crew(grace_seconds=0.02) as (engine, ground):
        await ready(engine)
        is_over = asyncio.Event()

        async def load(seed: int) -> int:
            num_drawn = 0
            while not is_over.is_set():
                events = await drawn(engine, job(seed, steps=20))
                assert pictures(events) == {0: bytes((seed,)) * 768}
                num_drawn += 1
            return num_drawn

        clients = [asyncio.create_task(load(seed)) for seed in range(6)]
        await engine.restart()
        is_over.set()
        assert all(await asyncio.gather(*clients))
        assert sorted(link.name for link in ground.links) == ["a/1", "a/2", "b/1", "b/2"]


async def test_without_any_replica_jobs_wait_and_deadlines_pass(crew: Crew) -> None:
    async with crew(names=("a",)) as (engine, _):
        await engine.drain("a")
        waits = asyncio.create_task(drawn(engine, job(1)))
        loop = asyncio.get_running_loop()
        [late] = await drawn(engine, job(2, deadline=loop.time() + 0.05))
        assert isinstance(late, Failed)
        assert isinstance(late.error(), DeadlineExceeded)
        assert not waits.done()
        await engine.restart("a")
        assert pictures(await waits)


async def test_the_door_is_as_wide_as_there_are_replicas(crew: Crew) -> None:
    async with crew(max_batch=1, max_waiting=1) as (engine, _):
        streams = [engine.submit(job(n, steps=10 * LONG)) for n in range(4)]
        with pytest.raises(Overloaded):
            engine.submit(job(9))
        await streams.pop().aclose()
        await streams.pop().aclose()
        assert pictures(await drawn(engine, job(9)))


async def test_every_replica_hears_of_a_change_of_the_catalogue(crew: Crew) -> None:
    async with crew() as (engine, ground):
        await ready(engine)
        await engine.load_adapter("sd", "ink")
        assert [one.engine.adapters for one in ground.links] == 2 * [{("sd", "ink")}]  # type: ignore[attr-defined]
        collection = engine._collection
        collection.withdraw(collection.latest.adapter("sd", "ink"))
        engine.notice()

        async def gone() -> bool:
            served = [one.collection.latest.adapters for one in ground.links]
            return not any(("sd", "ink") in adapters for adapters in served)

        await until(gone)
        ground.latest("a").die()
        await until(lambda: _has_followed(ground))
        assert ("sd", "ink") not in ground.latest("a").collection.latest.adapters


async def _has_followed(ground: NearGround, place: str = "a") -> bool:
    return ground.latest(place).name == f"{place}/2"


async def test_a_ground_that_is_lost_is_begun_anew_and_nobody_is_blamed(crew: Crew) -> None:
    async with crew() as (engine, ground):
        await ready(engine)
        again = asyncio.create_task(drawn(engine, job(1, 2, 3, 4, steps=LONG)))
        for _ in range(3):  # a job that as many replicas ended with by themselves would be failed
            await busy(ground, "a", "b")
            first = ground.latest("a")
            ground.vanish()
            await until(partial(_is_another, ground, first))
        events = await again
        check_order(events, 4)
        assert pictures(events) == {n: bytes((n + 1,)) * 768 for n in range(4)}
        names = [link.name for link in ground.links]
        assert len(set(names)) == len(names) == 8


async def test_a_ground_that_stays_away_is_tried_until_it_is_back(crew: Crew) -> None:
    async with crew() as (engine, ground):
        await ready(engine)
        ground.num_failures = 10**6
        ground.vanish()

        async def told() -> bool:
            return engine.status().fault == "no replicas: nobody is there"

        await until(told)
        assert not engine.status().ready
        waits = asyncio.create_task(drawn(engine, job(3)))
        ground.num_failures = 0
        assert pictures(await waits) == {0: bytes((3,)) * 768}
        assert (engine.status().ready, engine.status().fault) == (True, None)


async def _is_another(ground: NearGround, link: NearLink) -> bool:
    return ground.latest("a") is not link


async def test_what_waits_goes_to_a_replica_that_comes(crew: Crew) -> None:
    async with crew() as (engine, ground):
        await ready(engine)
        await engine.drain("b")
        seeds = range(1, 9)
        drawing = [asyncio.create_task(drawn(engine, job(seed, steps=LONG))) for seed in seeds]
        await busy(ground, "a")
        await engine.restart("b")
        await busy(ground, "b")
        for seed, events in zip(seeds, await asyncio.gather(*drawing), strict=True):
            check_order(events, 1)
            assert pictures(events) == {0: bytes((seed,)) * 768}


async def test_a_place_that_was_drained_stays_so_on_another_ground(crew: Crew) -> None:
    async with crew() as (engine, ground):
        await ready(engine)
        await engine.drain("a")
        ground.vanish()
        await until(lambda: _has_followed(ground, "b"))
        await ready(engine, 1)
        assert {one.name: one.standing for one in engine.status().replicas}["a"] == "ended"
        await engine.restart("a")
        await ready(engine)


async def test_a_ground_that_is_not_there_yet_is_waited_for(catalog: Catalog) -> None:
    ground = NearGround(SmallEngine, "a")
    ground.num_failures = 1
    engine = ClusterEngine(Collection.of(catalog), Settings(), ground.ground, SHORT)
    starting = asyncio.create_task(engine.start())

    async def told() -> bool:
        return engine.status().fault == "no replicas: nobody is there"

    await until(told)
    assert not engine.status().ready
    await starting
    assert (engine.status().ready, engine.status().fault) == (True, None)
    await engine.stop(0)
