"""The engine as the rest of the gateway meets it: a door, events, an orderly end."""

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from gateway.catalog.catalog import Catalog
from gateway.catalog.folders import load_catalog
from gateway.engine.loading import loading, shelf
from gateway.engine.local import LocalEngine
from gateway.engine.sample import Sample
from gateway.errors import GenerationFailed, Overloaded, ShuttingDown
from gateway.job import AdapterUse, Event, Failed, Finished, Job, Preview, StepDone
from gateway.settings import Settings
from tests.engine import tiny, tiny_loras
from tests.engine.conftest import built
from tests.engine.workbench import alone, job


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    folder = tmp_path_factory.mktemp("catalog")
    tiny.save("sd", folder / "models", steps={"min": 1, "max": 50, "default": 4})
    tiny.save("flux", folder / "models")
    tiny_loras.save("sd", folder / "adapters" / "sd", "ink")
    return load_catalog((folder / "models",), (folder / "adapters",))


@asynccontextmanager
async def running(catalog: Catalog, **settings: Any) -> AsyncIterator[LocalEngine]:
    engine = LocalEngine(catalog, Settings(threads=1, **settings))
    await engine.start()
    try:
        yield engine
    finally:
        await engine.stop(0)


async def events_of(engine: LocalEngine, one: Job) -> list[Event]:
    return [event async for event in engine.submit(one)]


def finished(events: list[Event]) -> Finished:
    [found] = [event for event in events if isinstance(event, Finished)]
    return found


async def until(done: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "it never came"
        await asyncio.sleep(0.005)


async def test_every_sample_is_answered_once_with_its_steps(catalog: Catalog) -> None:
    async with running(catalog) as engine:
        one = job("sd", "a cat", 0, 3, seeds=(1, 2), num_previews=1)
        events = await events_of(engine, one)
    for sample in (0, 1):
        mine = [event for event in events if event.sample == sample]
        assert [event.step for event in mine if isinstance(event, StepDone)] == [1, 2, 3]
        assert sum(isinstance(event, Preview) for event in mine) == 1
        assert isinstance(mine[-1], Finished)
        assert mine[-1].scheduler == "EulerDiscreteScheduler"


async def test_pixels_are_the_plain_pipelines(catalog: Catalog) -> None:
    one = job("sd", "a cat", 7, 2)
    wanted = (alone(built("sd"), one) * 255).round().to(torch.int).permute(1, 2, 0)
    async with running(catalog) as engine:
        pixels = finished(await events_of(engine, one)).pixels
    got = torch.frombuffer(bytearray(pixels.data), dtype=torch.uint8).reshape(32, 32, 3)
    assert (pixels.width, pixels.height, pixels.channels) == (32, 32, 3)
    assert (got.int() - wanted).abs().max() <= 1


async def test_endpoints_and_adapters_load_on_demand_and_status_says_so(catalog: Catalog) -> None:
    async with running(catalog) as engine:
        assert engine.status().ready
        assert engine.status().loaded == ()
        await asyncio.gather(
            events_of(engine, job("sd", "a", 1, 2, adapters=(AdapterUse("ink"),))),
            events_of(engine, job("flux", "b", 2, 1)),
        )
        status = engine.status()
    loaded = {one.id: one for one in status.loaded}
    assert loaded.keys() == {"sd", "flux"}
    assert loaded["sd"].adapters == ("ink",)
    assert loaded["sd"].pipeline == "StableDiffusionPipeline"
    assert loaded["sd"].warm
    assert loaded["sd"].size_bytes > 100_000
    assert status.step_seconds["sd"] > 0
    assert set(status.batch_sizes) == {1}
    assert (status.num_running, status.num_waiting) == (0, 0)


async def test_preload_warms_every_endpoint(catalog: Catalog) -> None:
    async with running(catalog, preload=True) as engine:
        assert {one.id for one in engine.status().loaded if one.warm} == {"sd", "flux"}


async def test_preload_tells_what_cannot_run(tmp_path: Path) -> None:
    folder = tiny.save("sd", tmp_path)
    (folder / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"nothing")
    engine = LocalEngine(load_catalog((tmp_path,), ()), Settings(threads=1, preload=True))
    with pytest.raises(GenerationFailed, match="endpoint 'sd' cannot run"):
        await engine.start()
    await engine.stop(0)


async def test_what_cannot_be_preloaded_stops_no_other(tmp_path: Path) -> None:
    for id in ("torn", "well"):
        tiny.save("sd", tmp_path, id=id)
    (tmp_path / "torn" / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"nothing")
    async with running(load_catalog((tmp_path,), ()), preload=True) as engine:
        assert engine.status().ready
        assert [one.id for one in engine.status().loaded if one.warm] == ["well"]


async def test_a_full_door_refuses_before_any_work(catalog: Catalog) -> None:
    async with running(catalog, max_batch=1, max_waiting=2) as engine:
        await events_of(engine, job("sd", "measures a step", 1, 2))
        streams = [engine.submit(job("sd", "a", seed, 10)) for seed in range(3)]
        with pytest.raises(Overloaded) as refusal:
            engine.submit(job("sd", "one too many", 9, 1))
        assert refusal.value.retry_after_seconds is not None
        assert refusal.value.retry_after_seconds >= 1
        for stream in streams:
            await stream.aclose()
        await until(lambda: not (engine.status().num_waiting + engine.status().num_running))
        assert finished(await events_of(engine, job("sd", "room again", 9, 1)))


async def test_a_door_that_one_key_has_filled_opens_for_another(catalog: Catalog) -> None:
    async with running(catalog, max_batch=1, max_waiting=3) as engine:
        flood = [engine.submit(job("sd", "a", seed, 10, owner="many")) for seed in range(4)]
        with pytest.raises(Overloaded):
            engine.submit(job("sd", "one too many", 9, 1, owner="many"))
        assert finished(await events_of(engine, job("sd", "b", 9, 1, owner="few")))
        for stream in flood:
            await stream.aclose()


async def test_a_batch_does_not_fill_the_door_for_people(catalog: Catalog) -> None:
    async with running(catalog, max_batch=1, max_waiting=3) as engine:
        batch = [engine.submit(job("sd", "a", seed, 10, priority="batch")) for seed in range(4)]
        with pytest.raises(Overloaded):
            engine.submit(job("sd", "one too many", 9, 1, priority="batch"))
        assert finished(await events_of(engine, job("sd", "b", 9, 1)))
        for stream in batch:
            await stream.aclose()


async def test_what_has_ended_is_let_go_of_at_once(catalog: Catalog) -> None:
    """Pictures in circles of references would lie there until garbage is looked for."""
    async with running(catalog, endpoints=("sd",)) as engine:
        await events_of(engine, job("sd", "a warm one", 0, 2))
        gc.collect()
        gc.disable()
        try:
            for number in range(3):
                await events_of(engine, job("sd", f"let go {number}", 1, 3, num_previews=1))
            await events_of(engine, job("sd", "the last", 1, 2))  # whose turn follows all of theirs
            samples = [one for one in gc.get_objects() if type(one) is Sample]
            assert not [one for one in samples if one.job.prompt.startswith("let go ")]
        finally:
            gc.enable()


async def test_a_deadline_is_judged_by_a_keys_part_of_the_device(catalog: Catalog) -> None:
    async with running(catalog, max_batch=1) as engine:
        await events_of(engine, job("sd", "measures a step", 1, 4))
        flood = [engine.submit(job("sd", "a", seed, 50, owner="many")) for seed in range(100)]
        pace = engine.status().step_seconds["sd"]
        soon = time.monotonic() + 150 * pace
        with pytest.raises(Overloaded):
            engine.submit(job("sd", "b", 9, 1, owner="many", deadline=soon))
        await engine.submit(job("sd", "b", 9, 1, owner="few", deadline=soon)).aclose()
        for stream in flood:
            await stream.aclose()


async def test_a_deadline_that_cannot_be_met_is_refused_at_the_door(catalog: Catalog) -> None:
    async with running(catalog) as engine:
        await events_of(engine, job("sd", "measures a step", 1, 4))
        with pytest.raises(Overloaded):
            engine.submit(job("sd", "a", 1, 10, deadline=time.monotonic() + 1e-4))
        in_time = job("sd", "a", 1, 1, deadline=time.monotonic() + 60)
        assert finished(await events_of(engine, in_time))


async def test_a_deadline_that_passes_ends_the_sample(catalog: Catalog) -> None:
    async with running(catalog) as engine:
        # Nothing is measured yet: the job is let in, and loading takes longer.
        events = await events_of(engine, job("sd", "a", 1, 2, deadline=time.monotonic() + 0.01))
    [event] = events
    assert isinstance(event, Failed)
    assert event.code == "deadline_exceeded"


async def test_closing_the_stream_cancels_within_a_step(catalog: Catalog) -> None:
    async with running(catalog) as engine:
        async with aclosing(engine.submit(job("sd", "a", 1, 50))) as stream:
            async for event in stream:
                assert isinstance(event, StepDone)
                break
        await until(lambda: engine.status().num_running == 0)
        assert sum(engine.status().batch_sizes) < 20


async def test_a_stream_dropped_unread_cancels_too(catalog: Catalog) -> None:
    async with running(catalog) as engine:
        engine.submit(job("sd", "a", 1, 50))
        gc.collect()
        await until(lambda: not (engine.status().num_waiting + engine.status().num_running))
        assert sum(engine.status().batch_sizes) < 20


async def test_stopping_finishes_what_runs_and_refuses_the_rest(catalog: Catalog) -> None:
    engine = LocalEngine(catalog, Settings(threads=1))
    await engine.start()
    task = asyncio.create_task(events_of(engine, job("sd", "a", 1, 4)))
    await asyncio.sleep(0)
    stopping = asyncio.create_task(engine.stop(30))
    await asyncio.sleep(0)
    with pytest.raises(ShuttingDown):
        engine.submit(job("sd", "late", 1, 1))
    assert not engine.status().ready
    assert finished(await task)
    await stopping


async def test_stopping_without_grace_answers_everyone(catalog: Catalog) -> None:
    engine = LocalEngine(catalog, Settings(threads=1))
    await engine.start()
    task = asyncio.create_task(events_of(engine, job("sd", "a", 1, 50, seeds=(1, 2, 3))))
    await asyncio.sleep(0)
    await engine.stop(0)
    ends = [event for event in await task if isinstance(event, Failed)]
    assert sorted(event.sample for event in ends) == [0, 1, 2]
    assert {event.code for event in ends} == {"server_is_overloaded"}


async def test_a_load_blocks_nobody_else(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    load, may_go_on = loading.load, asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow(card: Any, *given: Any) -> Any:
        if card.id == "flux":
            asyncio.run_coroutine_threadsafe(may_go_on.wait(), loop).result(20)
        return load(card, *given)

    monkeypatch.setattr(shelf, "load", slow)
    async with running(catalog) as engine:
        await events_of(engine, job("sd", "a", 1, 1))
        waits = asyncio.create_task(events_of(engine, job("flux", "b", 1, 1)))
        assert finished(await events_of(engine, job("sd", "meanwhile", 2, 3)))
        assert not waits.done()
        may_go_on.set()
        assert finished(await waits)


