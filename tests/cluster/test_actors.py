"""Replicas as Ray's actors, on a Ray of the tests' own: processes that are killed and stopped."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from gateway.catalog.catalog import Catalog
from gateway.catalog.collection import Collection
from gateway.cluster.actors import ActorLink, Make
from gateway.cluster.crew import Patience
from gateway.cluster.devices import Place
from gateway.cluster.engine import ClusterEngine
from gateway.cluster.link import Ground, Link
from gateway.cluster.replica import Replica, replica_of
from gateway.cluster.session import Session
from gateway.engine.local import LocalEngine
from gateway.engine.protocol import ReplicaStatus
from gateway.job import Failed, Finished
from gateway.settings import Settings
from tests.cluster.test_engine import check_order, drawn, job, pictures, ready
from tests.engine.bench import Bench
from tests.engine.conformance import LEAST_BATCH, WORKING, Promise
from tests.engine.small import TORN, SmallEngine
from tests.facts import descendants, named
from tests.runs.house import until

PATIENCE = Patience(beat_seconds=0.1, silent_seconds=3, pause_seconds=0.1)
LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
LISTENING = "0A"
LONG = 2000
BEGUN_SECONDS = 600
"""For a Ray and its replicas, which take 10 s of a quiet machine."""

pytestmark = pytest.mark.asyncio(loop_scope="module")


def small(settings: Settings, catalog: Catalog, place: Place) -> Replica:
    """A replica whose engine is the tests' own, without torch."""
    collection = Collection.of(catalog)
    return Replica(SmallEngine(collection, max_batch=1, places=10**6), collection)


@asynccontextmanager
async def replicas(
    ray: Session, catalog: Catalog, make: Make, settings: Settings
) -> AsyncIterator[Bench]:
    """Two, on the Ray that is there, or on another if that is lost."""

    async def places() -> list[Place]:
        return [Place("a", "cpu", threads=1), Place("b", "cpu", threads=1)]

    def hire(name: str, place: Place, catalog: Catalog) -> Link:
        return ActorLink(settings, place, catalog, make)

    async def mend() -> None:
        if ray.fault():
            await ray.close()
            await ray.open()

    collection = Collection.of(catalog)
    ground = Ground(places, hire, mend, ray.fault)
    engine = ClusterEngine(collection, settings, ground, PATIENCE)
    try:
        await engine.start()
        await ready(engine)
        yield Bench(engine, collection, "sd", "ink", TORN, {"prompt": TORN}, LONG)
    finally:
        await engine.stop(0)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ray() -> AsyncIterator[Session]:
    session = Session(None, 2)
    await session.open()
    yield session
    await session.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bench(ray: Session, catalog: Catalog) -> AsyncIterator[Bench]:
    settings = Settings(max_batch=LEAST_BATCH // 2, max_waiting=16)
    async with replicas(ray, catalog, small, settings) as bench:
        yield bench


@pytest.fixture
def engine(bench: Bench) -> ClusterEngine:
    assert isinstance(bench.engine, ClusterEngine)
    return bench.engine


@pytest.mark.parametrize("promise", WORKING)
async def test_while_it_works(promise: Promise, bench: Bench) -> None:
    await promise(bench)


async def busy(engine: ClusterEngine) -> ReplicaStatus:
    """One that draws something."""

    async def look() -> list[ReplicaStatus]:
        return [one for one in engine.status().replicas if one.num_running]

    return (await until(look))[0]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_process_that_ends_or_stops_is_replaced_and_its_picture_drawn(
    engine: ClusterEngine, number: signal.Signals
) -> None:
    await ready(engine)
    drawing = asyncio.create_task(drawn(engine, job(1, 2, 3, 4, steps=LONG)))
    struck = await busy(engine)
    assert struck.process
    os.kill(struck.process, number)
    events = await drawing
    check_order(events, 4)
    assert pictures(events) == {n: bytes((n + 1,)) * 768 for n in range(4)}

    async def replaced() -> bool:
        processes = {one.process for one in engine.status().replicas if one.standing == "ready"}
        return len(processes) == 2 and struck.process not in processes

    await until(replaced)
    await until(lambda: _is_gone(struck.process))


async def test_a_stopped_process_that_goes_on_in_time_is_kept(engine: ClusterEngine) -> None:
    await ready(engine)
    drawing = asyncio.create_task(drawn(engine, job(1, 2, steps=LONG)))
    struck = await busy(engine)
    assert struck.process
    os.kill(struck.process, signal.SIGSTOP)

    async def silent() -> bool:
        return any(member.is_silent for member in engine._crew.members)

    await until(silent)
    os.kill(struck.process, signal.SIGCONT)
    check_order(await drawing, 2)
    assert struck.process in {one.process for one in engine.status().replicas}


async def test_who_leaves_stops_the_replica(engine: ClusterEngine) -> None:
    events = engine.submit(job(steps=100 * LONG))
    await anext(events)
    await busy(engine)
    await events.aclose()

    async def idle() -> bool:
        return not any(one.num_running for one in engine.status().replicas)

    await until(idle)


async def test_all_begin_anew_under_load(engine: ClusterEngine) -> None:
    await ready(engine)
    before = {one.process for one in engine.status().replicas}
    is_over = asyncio.Event()

    async def load(seed: int) -> None:
        while not is_over.is_set():
            assert pictures(await drawn(engine, job(seed, steps=20))) == {0: bytes((seed,)) * 768}

    clients = [asyncio.create_task(load(seed)) for seed in range(4)]
    await engine.restart()
    is_over.set()
    await asyncio.gather(*clients)
    assert not before & {one.process for one in engine.status().replicas}


async def test_nobody_else_reaches_it(ray: Session, engine: ClusterEngine) -> None:
    inodes = {
        os.readlink(file)
        for process in (os.getpid(), *descendants(os.getpid()))
        for file in Path(f"/proc/{process}/fd").iterdir()
        if file.is_symlink() and (file.exists() or "socket" in os.readlink(file))
    }
    addresses = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            columns = line.split()
            if columns[3] == LISTENING and f"socket:[{columns[9]}]" in inodes:
                addresses.add(columns[1].partition(":")[0])
    assert addresses
    assert addresses <= LOOPBACK
    assert os.environ["RAY_AUTH_MODE"] == "token"


async def _is_known(engine: Any, endpoint: str) -> bool:
    return engine.abilities(endpoint) is not None


async def test_a_picture_is_the_local_engines_also_when_its_replica_is_killed(
    ray: Session, catalog: Catalog, tmp_path: Path
) -> None:
    settings = Settings(threads=1, data=tmp_path)
    one = job(1, 2, 3, 4, steps=40, width=32, height=32)
    local = LocalEngine(catalog, settings)
    await local.start()
    wanted = [event async for event in local.submit(one)]
    await local.stop(0)
    async with replicas(ray, catalog, replica_of, settings) as bench:
        engine: Any = bench.engine
        drawing = asyncio.create_task(drawn(engine, one))
        struck = await busy(engine)
        assert struck.process
        os.kill(struck.process, signal.SIGKILL)
        events = await drawing
        check_order(events, 4)
        assert not [event for event in events if isinstance(event, Failed)]
        for number, picture in pictures(wanted).items():
            other = pictures(events)[number]
            assert max(abs(a - b) for a, b in zip(picture, other, strict=True)) <= 1
        await until(partial(_is_known, engine, "sd"))
        assert engine.runs_scheduler("sd", "EulerDiscreteScheduler", {}) is True
        digests = [event.digests for event in events if isinstance(event, Finished)]
        assert all(digest["sd"] for digest in digests)


async def test_a_ray_that_ends_is_followed_by_another_and_the_picture_drawn_there(
    ray: Session, engine: ClusterEngine
) -> None:
    """Its raylet here; the other, and each twenty times, is `tests/resilience`'s."""
    await ready(engine)
    before = {one.process for one in engine.status().replicas}
    drawing = asyncio.create_task(drawn(engine, job(1, 2, steps=LONG)))
    await busy(engine)
    [struck] = named("raylet", os.getpid())
    os.kill(struck, signal.SIGKILL)
    events = await drawing
    check_order(events, 2)
    assert pictures(events) == {n: bytes((n + 1,)) * 768 for n in range(2)}
    for process in before:
        await until(partial(_is_gone, process))
    await ready(engine, seconds=BEGUN_SECONDS)
    assert (engine.status().ready, engine.status().fault) == (True, None)
    assert pictures(await drawn(engine, job(9))) == {0: bytes((9,)) * 768}


async def _is_gone(process: int | None) -> bool:
    return not Path(f"/proc/{process}").exists()
