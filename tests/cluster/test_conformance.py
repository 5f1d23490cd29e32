"""The engine over replicas under the kit of promises, its replicas in this process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio

from gateway.catalog.catalog import Catalog
from gateway.catalog.collection import Collection
from gateway.cluster.engine import ClusterEngine
from gateway.settings import Settings
from tests.cluster.conftest import SHORT
from tests.cluster.near import NearGround
from tests.engine.bench import Bench
from tests.engine.conformance import LEAST_BATCH, WORKING, Promise
from tests.engine.lifetimes import LIVING
from tests.engine.small import TORN, SmallEngine

PLACES = 16
"""Of each replica's door."""


@asynccontextmanager
async def bench_of(catalog: Catalog) -> AsyncIterator[Bench]:
    collection = Collection.of(catalog)
    ground = NearGround(lambda served: SmallEngine(served, 1, 10**6), "a", "b").ground
    settings = Settings(max_batch=LEAST_BATCH // 2, max_waiting=PLACES)
    engine = ClusterEngine(collection, settings, ground, SHORT)
    try:
        yield Bench(engine, collection, "sd", "ink", TORN, {"prompt": TORN})
    finally:
        await engine.stop(0)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def working(catalog: Catalog) -> AsyncIterator[Bench]:
    async with bench_of(catalog) as bench:
        await bench.engine.start()
        yield bench


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("promise", WORKING)
async def test_while_it_works(promise: Promise, working: Bench) -> None:
    await promise(working)


@pytest.mark.parametrize("promise", LIVING)
async def test_as_it_starts_and_stops(promise: Promise, catalog: Catalog) -> None:
    async with bench_of(catalog) as bench:
        await promise(bench)
