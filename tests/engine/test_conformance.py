"""The engine in this process, and the tests' own of a page, under the kit."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio

from gateway.catalog.catalog import Catalog
from gateway.catalog.collection import Collection
from gateway.catalog.folders import load_catalog
from gateway.engine.local import LocalEngine
from gateway.engine.protocol import Engine
from gateway.job import AdapterUse
from gateway.settings import Settings
from tests.engine import tiny, tiny_loras
from tests.engine.bench import Bench
from tests.engine.conformance import LEAST_BATCH, MOST_PLACES, WORKING, Promise
from tests.engine.lifetimes import LIVING
from tests.engine.small import TORN, SmallEngine

Make = Callable[[Collection], Engine]


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    folder = tmp_path_factory.mktemp("catalog")
    tiny.save("sd", folder / "models")
    tiny_loras.save("sd", folder / "adapters" / "sd", "ink")
    (folder / "adapters" / "sd" / f"{TORN}.safetensors").write_bytes(b"nothing")
    return load_catalog((folder / "models",), (folder / "adapters",))


def local(collection: Collection) -> Engine:
    return LocalEngine(
        collection,
        Settings(threads=1, max_batch=LEAST_BATCH, max_waiting=MOST_PLACES - LEAST_BATCH),
    )


def small(collection: Collection) -> Engine:
    return SmallEngine(collection, LEAST_BATCH, MOST_PLACES)


FAILING: dict[Make, dict[str, Any]] = {
    local: {"adapters": (AdapterUse(TORN),)}, small: {"prompt": TORN}
}  # fmt: skip


@asynccontextmanager
async def bench_of(make: Make, catalog: Catalog) -> AsyncIterator[Bench]:
    collection = Collection.of(catalog)
    engine = make(collection)
    try:
        yield Bench(engine, collection, "sd", "ink", TORN, FAILING[make])
    finally:
        await engine.stop(0)


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=[local, small])
async def working(request: pytest.FixtureRequest, catalog: Catalog) -> AsyncIterator[Bench]:
    async with bench_of(request.param, catalog) as bench:
        await bench.engine.start()
        yield bench


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("promise", WORKING)
async def test_while_it_works(promise: Promise, working: Bench) -> None:
    await promise(working)


@pytest.mark.parametrize("make", [local, small])
@pytest.mark.parametrize("promise", LIVING)
async def test_as_it_starts_and_stops(promise: Promise, make: Make, catalog: Catalog) -> None:
    async with bench_of(make, catalog) as bench:
        await promise(bench)
