"""Runs from acceptance to their end, on both databases."""

import asyncio
from pathlib import Path

import pytest

from gateway.accounts.keys import KeyStore
from gateway.runs.records import Order
from tests.runs.graph import examples
from tests.runs.graph.examples import node
from tests.runs.house import OWNER, draw, opened, order, pictures, until, uploaded
from tests.small_engine import TestEngine


def tiny_graph(**sampler: object) -> examples.Graph:
    graph = examples.text_to_image(**({"steps": 4, "cfg": 1} | sampler))
    graph["4"]["inputs"]["ckpt_name"] = "tiny"
    graph["5"]["inputs"] |= {"width": 64, "height": 64}
    return graph


def test_a_models_run(tmp_path: Path, database: str | None) -> None:
    async def test() -> None:
        async with opened(tmp_path, database) as runs:
            (run,) = await draw(runs, order(seed=0x0201))
            assert (run.status, run.progress, run.error) == ("success", 1.0, None)
            assert None not in (run.queued_at, run.started_at, run.ended_at)
            (picture,) = await pictures(runs, run.id)
            assert picture.getpixel((0, 0)) == (1, 2, 0)

    asyncio.run(test())


def test_a_graphs_run_with_a_second_pass(tmp_path: Path, database: str | None) -> None:
    graph = tiny_graph(seed=0x0403)
    graph["20"] = node("ImageScaleBy", image=["8", 0], upscale_method="bicubic", scale_by=2)
    graph["21"] = node("VAEEncode", pixels=["20", 0], vae=["4", 2])
    again = graph["3"]["inputs"] | {"latent_image": ["21", 0], "denoise": 0.5, "seed": 0x0605}
    graph["22"] = node("KSampler", **again)
    graph["23"] = node("VAEDecode", samples=["22", 0], vae=["4", 2])
    graph["24"] = node("SaveImage", images=["23", 0], filename_prefix="../../big")

    async def test() -> None:
        engine = TestEngine()
        async with opened(tmp_path, database, engine) as runs:
            (run,) = await draw(runs, Order(graph=graph))
            assert run.status == "success", run.error
            small, big = await pictures(runs, run.id)
            assert (small.size, big.size) == ((64, 64), (128, 128))
            assert big.getpixel((0, 0)) == (5, 6, 255)
            first, second = engine.jobs
            assert (second.strength, second.images[0].width) == (0.5, 128)
            assert (first.images, second.images[0].data[:3]) == ((), bytes((3, 4, 0)))
            names = [item.filename for o in await runs.outputs(run.id) for item in o.items]
            assert names == ["ComfyUI_00001_.png", "big_00001_.png"]

    asyncio.run(test())


@pytest.mark.parametrize("limit", [None, 1])
def test_every_picture_of_a_batch_is_redrawn_by_itself(tmp_path: Path, limit: int | None) -> None:
    graph = tiny_graph(seed=0x0101)
    graph["5"]["inputs"]["batch_size"] = 3
    graph["20"] = node("LatentUpscaleBy", samples=["3", 0], upscale_method="area", scale_by=2)
    again = graph["3"]["inputs"] | {"latent_image": ["20", 0], "denoise": 0.5, "seed": 0x0601}
    graph["22"] = node("KSampler", **again)
    graph["8"]["inputs"]["samples"] = ["22", 0]
    key, _ = KeyStore(tmp_path).create("small", concurrent_samples=limit)

    async def test() -> None:
        engine = TestEngine()
        async with opened(tmp_path, None, engine) as runs:
            (new,) = await runs.accept([Order(graph=graph, num_samples=3)], key.id)
            run = await runs.wait(new.id, key.id)
            assert run.status == "success", run.error
            first, second = engine.jobs[:-3], engine.jobs[-3:]
            assert sum(len(job.seeds) for job in first) == 3
            assert [job.seeds for job in second] == [(0x0601,), (0x0602,), (0x0603,)]
            starts = [job.images[0].data[:3] for job in second]
            assert starts == [bytes((low, 1, 0)) for low in (1, 2, 3)]
            assert engine.max_running == (3 if limit is None else 1)
            made = await pictures(runs, run.id)
            assert [picture.getpixel((0, 0)) for picture in made] == [
                (1, 6, 255),
                (2, 6, 255),
                (3, 6, 255),
            ]
            assert {picture.size for picture in made} == {(128, 128)}

    asyncio.run(test())


def test_a_failure_is_told(tmp_path: Path, database: str | None) -> None:
    async def test() -> None:
        async with opened(tmp_path, database) as runs:
            (run,) = await draw(runs, order("fail"))
            assert (run.status, run.error) == ("failed", "The pipeline raised.")
            (output,) = await runs.outputs(run.id)
            assert output.errors == ("The pipeline raised.",)

    asyncio.run(test())


def test_a_fault_of_ours_fails_the_run_without_its_cause(tmp_path: Path) -> None:
    class Broken(TestEngine):
        def submit(self, job: object) -> object:  # type: ignore[override]
            raise RuntimeError("secret detail")

    async def test() -> None:
        async with opened(tmp_path, None, Broken()) as runs:
            (run,) = await draw(runs, order())
            assert run.status == "failed"
            assert "secret" not in (run.error or "")

    asyncio.run(test())


def test_the_timeout_counts_from_the_start(tmp_path: Path, database: str | None) -> None:
    async def test() -> None:
        engine = TestEngine()
        async with opened(tmp_path, database, engine) as runs:
            (run,) = await draw(runs, order("slow", timeout_seconds=0.15))
            assert run.status == "timeout"
            assert engine.num_closed == 1

    asyncio.run(test())


def test_a_cancelled_run_stops_within_a_step(tmp_path: Path, database: str | None) -> None:
    async def test() -> None:
        engine = TestEngine()
        async with opened(tmp_path, database, engine) as runs:
            (new,) = await runs.accept([order("slow")], OWNER)

            async def is_drawing() -> bool:
                run = await runs.get(new.id, OWNER)
                return run is not None and run.progress > 0

            await until(is_drawing)
            assert await runs.cancel(new.id)
            assert (await runs.wait(new.id, OWNER)).status == "cancelled"
            await until(lambda: asyncio.sleep(0, not engine.num_running))
            assert engine.num_closed == 1, "it was drawn to its end"
            assert not await runs.cancel(new.id)

    asyncio.run(test())


def test_a_cancelled_run_that_waits_is_never_drawn(tmp_path: Path) -> None:
    async def test() -> None:
        engine = TestEngine()
        async with opened(tmp_path, None, engine) as runs:
            new = await runs.accept([order("slow"), order("late")], OWNER)
            assert await runs.cancel(new[1].id)
            assert (await runs.wait(new[0].id, OWNER)).status == "success"
            await asyncio.sleep(0.5)
            assert [job.prompt for job in engine.jobs] == ["slow"]

    asyncio.run(test())


def test_progress_moves_with_the_steps(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path, None) as runs:
            (new,) = await runs.accept([order("slow")], OWNER)
            seen: list[float] = []
            async for notice in runs.watch(new.id, OWNER):
                if notice and notice.event == "progress":
                    run = await runs.get(new.id, OWNER)
                    assert run is not None
                    seen.append(run.progress)
                    assert run.status == "running"
            assert seen == [0.25, 0.5, 0.75, 0.99]

    asyncio.run(test())


def test_a_batch_is_accepted_whole_and_drawn_together(tmp_path: Path, database: str | None) -> None:
    async def test() -> None:
        engine = TestEngine(step_seconds=0.1)
        async with opened(tmp_path, database, engine) as runs:
            done = await draw(runs, *(order(seed=seed) for seed in range(30)))
            assert {run.status for run in done} == {"success"}
            assert len({run.batch_id for run in done}) == 1
            assert [run.number for run in done] == sorted(run.number for run in done)
            assert engine.max_running > 8
            assert {job.priority for job in engine.jobs} == {"batch"}
            found = await runs.batch(done[0].batch_id or "", OWNER)
            assert [run.id for run in found] == [run.id for run in done]

    asyncio.run(test())


@pytest.mark.parametrize("limit", [1, 3])
def test_a_concurrency_limit_bounds_the_runs_in_flight(
    tmp_path: Path, database: str | None, limit: int
) -> None:
    async def test() -> None:
        engine = TestEngine(step_seconds=0.03)
        async with opened(tmp_path, database, engine) as runs:
            orders = [order(seed=seed, concurrency_limit=limit) for seed in range(6)]
            new = [run for each in orders for run in await runs.accept([each], OWNER)]
            for run in new:
                assert (await runs.wait(run.id, OWNER)).status == "success"
            assert engine.max_running == limit

    asyncio.run(test())


def test_a_full_engine_is_waited_for(tmp_path: Path) -> None:
    async def test() -> None:
        engine = TestEngine(max_jobs=1)
        async with opened(tmp_path, None, engine) as runs:
            done = await draw(runs, *(order(seed=seed) for seed in range(5)))
            assert {run.status for run in done} == {"success"}
            assert engine.max_running == 1

    asyncio.run(test())


def test_the_loop_keeps_its_threads_when_runs_are_put_down(tmp_path: Path) -> None:
    async def test() -> str:
        async with opened(tmp_path, None) as runs:
            await draw(runs, order())
        return await asyncio.to_thread(lambda: "still here")

    assert asyncio.run(test()) == "still here"


def test_owners_see_their_own(tmp_path: Path, database: str | None) -> None:
    async def test() -> None:
        async with opened(tmp_path, database) as runs:
            done = await draw(runs, order(), order())
            assert await runs.get(done[0].id, "bob") is None
            assert await runs.batch(done[0].batch_id or "", "bob") == []

    asyncio.run(test())


def test_old_runs_are_forgotten_with_their_pictures(tmp_path: Path, database: str | None) -> None:
    async def test() -> None:
        async with opened(tmp_path, database) as runs:
            (run,) = await draw(runs, order())
            ((item,),) = [output.items for output in await runs.outputs(run.id)]
            assert run.ended_at is not None
            assert await runs.sweep(run.ended_at - 1) == 0
            assert await runs.sweep(run.ended_at + 1) == 1
            assert await runs.get(run.id, OWNER) is None
            assert await runs.files.get(item.key) is None
            assert await runs.outputs(run.id) == []

    asyncio.run(test())


def test_old_uploads_are_forgotten(tmp_path: Path, database: str | None) -> None:
    async def test() -> None:
        async with opened(tmp_path, database) as runs:
            file = await uploaded(runs, "a.png", b"bytes")
            assert await runs.uploads.sweep(file.created_at) == 0
            assert await runs.uploads.sweep(file.created_at + 1) == 1
            assert await runs.library.file("a.png", OWNER) is None
            assert await runs.files.get(file.key) is None

    asyncio.run(test())


def test_waiting_runs_know_their_place(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path, None, max_batch=1) as runs:
            new = await runs.accept([order("slow", seed=seed) for seed in range(3)], OWNER)
            found = [await runs.get(run.id, OWNER) for run in new]
            places = [await runs.num_ahead(run) for run in found if run]
            assert places == [0, 1, 2]
            for run in new:
                await runs.cancel(run.id)

    asyncio.run(test())
