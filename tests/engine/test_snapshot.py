"""What an engine says of its work and memory, for those who decide where more should go."""

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import pytest

from gateway.catalog.catalog import Catalog
from gateway.catalog.folders import load_catalog
from gateway.engine.local import LocalEngine
from gateway.job import AdapterUse
from gateway.settings import Settings
from tests.engine import tiny, tiny_loras
from tests.engine.test_local import events_of, until
from tests.engine.workbench import job

MANY = 900


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    folder = tmp_path_factory.mktemp("catalog")
    tiny.save("sd", folder / "models")
    tiny_loras.save("sd", folder / "adapters" / "sd", "ink", rank=8)
    return load_catalog((folder / "models",), (folder / "adapters",))


@asynccontextmanager
async def drawn_once(catalog: Catalog) -> AsyncIterator[LocalEngine]:
    """An engine that knows its pace, and draws one at a time."""
    engine = LocalEngine(catalog, Settings(threads=1, max_batch=1, endpoint_gib=1, adapter_gib=2))
    await engine.start()
    try:
        await events_of(engine, job("sd", "a", 0, 8, adapters=(AdapterUse("ink"),)))
        yield engine
    finally:
        await engine.stop(0)


async def test_queued_seconds_are_the_work_that_is_left(catalog: Catalog) -> None:
    async with drawn_once(catalog) as engine:
        assert engine.status().queued_seconds == 0
        first = engine.submit(job("sd", "a", 1, MANY))
        second = engine.submit(job("sd", "b", 2, MANY, priority="batch"))
        told = engine.status()
        # The second waits for the first, which has begun at most.
        assert told.batch_seconds > 0.5 * MANY * told.sample_step_seconds["sd"]
        assert told.queued_seconds > told.batch_seconds
        await first.aclose()
        await second.aclose()
        await until(lambda: engine.status().queued_seconds == 0)
        assert engine.status().batch_seconds == 0


async def test_work_grows_less_as_it_is_done(catalog: Catalog) -> None:
    async with drawn_once(catalog) as engine:
        left = []
        async with aclosing(engine.submit(job("sd", "a", 1, 40))) as events:
            async for _ in events:
                told = engine.status()
                left.append(told.queued_seconds / told.sample_step_seconds["sd"])
        assert left[-1] == 0 < left[len(left) // 2] < left[0]


async def test_memory_and_loads_are_told(catalog: Catalog) -> None:
    async with drawn_once(catalog) as engine:
        status = engine.status()
    [sd] = status.loaded
    assert status.weights.used_bytes == sd.size_bytes
    assert 0 < (status.weights.total_bytes or 0) <= 2**30
    assert status.beside.total_bytes == 2 * 2**30
    assert 0 < status.beside.used_bytes < sd.size_bytes
    assert status.load_seconds.keys() == {"sd", "sd:ink"}
    assert min(status.load_seconds.values()) > 0
    assert sd.ranks == {"ink": 8}


async def test_who_runs_and_waits_with_which_adapter_is_told(catalog: Catalog) -> None:
    async with drawn_once(catalog) as engine:
        assert (engine.status().running_adapters, engine.status().waiting_adapters) == ((), ())
        plain = engine.submit(job("sd", "a", 1, MANY))
        await until(lambda: engine.status().num_running == 1)
        inked = engine.submit(job("sd", "b", 2, MANY, adapters=(AdapterUse("ink"),)))
        assert engine.status().waiting_adapters == ("sd:ink",)
        await plain.aclose()
        await until(lambda: engine.status().running_adapters == ("sd:ink",))
        assert engine.status().waiting_adapters == ()
        await inked.aclose()
        await until(lambda: engine.status().running_adapters == ())
