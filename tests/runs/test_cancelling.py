"""A run that is cancelled lets go of everything, wherever it is."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from PIL import Image

from gateway.images.objects import Objects
from gateway.runs.drawing import perform, planning
from gateway.runs.durable.schema import claims, places
from gateway.runs.records import Order
from gateway.runs.runs import Runs
from tests.runs.hooks.test_webhooks import settled
from tests.runs.house import OWNER, draw, gateway_secret, opened, order, until, uploaded
from tests.runs.receiver import receiving
from tests.small_engine import TestEngine

Patch = pytest.MonkeyPatch
Held = AbstractAsyncContextManager[tuple[Order, Callable[[], bool]]]
"""Where a run stands still: the order of such a run, and whether it is there."""


@contextmanager
def busy(threads: Executor, count: int) -> Iterator[None]:
    """Threads that have something else to do for as long as the block lasts."""
    gate = threading.Event()
    for _ in range(count):
        threads.submit(gate.wait)
    try:
        yield
    finally:
        gate.set()


async def edit(runs: Runs) -> Order:
    """An order that redraws an uploaded picture."""
    out = BytesIO()
    Image.new("RGB", (64, 64)).save(out, "png")
    file = await uploaded(runs, "a.png", out.getvalue())
    return Order(model_id="editor", inputs={"prompt": "a", "seed": 1, "image": file.id})


@asynccontextmanager
async def compiling(runs: Runs, engine: TestEngine, patch: Patch) -> AsyncIterator[Any]:
    """A thread compiles it, and is not done."""
    gate, come, plan_of = threading.Event(), threading.Event(), planning.plan_of

    def slowly(*arguments: Any) -> Any:
        come.set()
        gate.wait()
        return plan_of(*arguments)

    with ExitStack() as at_end:
        at_end.callback(gate.set)
        patch.setattr(perform, "plan_of", slowly)
        yield order(), come.is_set


@asynccontextmanager
async def fetching(runs: Runs, engine: TestEngine, patch: Patch) -> AsyncIterator[Any]:
    """A host says nothing about its picture."""
    come = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        come.set()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    url = f"http://127.0.0.1:{port}/a.png"
    async with server:
        yield Order(model_id="editor", inputs={"prompt": "a", "image": url}), come.is_set


@asynccontextmanager
async def decoding(runs: Runs, engine: TestEngine, patch: Patch) -> AsyncIterator[Any]:
    """Others have their pictures decoded."""
    darkroom = runs.performer.equipment.darkroom
    with busy(darkroom._threads, 2):
        yield await edit(runs), lambda: darkroom.used_bytes > 0


@asynccontextmanager
async def waiting_for_the_engine(
    runs: Runs, engine: TestEngine, patch: Patch
) -> AsyncIterator[Any]:
    """The engine's door is full."""
    patch.setattr(engine, "max_jobs", 0)
    darkroom = runs.performer.equipment.darkroom
    yield await edit(runs), lambda: darkroom.used_bytes > 0


@asynccontextmanager
async def drawing(runs: Runs, engine: TestEngine, patch: Patch) -> AsyncIterator[Any]:
    """Its steps take their time."""
    yield order("slow"), lambda: engine.num_running == 1


@asynccontextmanager
async def encoding(runs: Runs, engine: TestEngine, patch: Patch) -> AsyncIterator[Any]:
    """Others have their pictures encoded."""
    with busy(runs.keeper._encoders, 2):
        before = len(engine.jobs)
        yield order(), lambda: len(engine.jobs) > before and engine.num_running == 0


@asynccontextmanager
async def storing(runs: Runs, engine: TestEngine, patch: Patch) -> AsyncIterator[Any]:
    """The store does not answer."""
    come = asyncio.Event()

    async def never(*_: Any) -> None:
        come.set()
        await asyncio.Event().wait()

    patch.setattr(Objects, "put", never)
    yield order(), come.is_set


@asynccontextmanager
async def waiting_its_turn(runs: Runs, engine: TestEngine, patch: Patch) -> AsyncIterator[Any]:
    """Another run of its kind has the only place."""
    [first] = await runs.accept([order("slow", concurrency_limit=1)], OWNER)
    yield order(concurrency_limit=1), lambda: engine.num_running == 1
    await runs.cancel(first.id)


STAGES = [
    compiling,
    fetching,
    decoding,
    waiting_for_the_engine,
    drawing,
    encoding,
    storing,
    waiting_its_turn,
]


def test_a_cancelled_run_holds_nothing_wherever_it_was(tmp_path: Path, monkeypatch: Patch) -> None:
    engine = TestEngine()

    async def cancelled(runs: Runs, held_up: Callable[..., Held], url: str) -> str:
        with monkeypatch.context() as patch:
            async with held_up(runs, engine, patch) as (plain, is_there):
                wanted = msgspec.structs.replace(plain, webhook=url, base_url="http://here")
                run_id = await _cancelled_at(runs, wanted, is_there)
                await until(lambda: _is_free(runs, run_id))
        await until(lambda: _is_free(runs))
        assert engine.num_running == 0, held_up.__name__
        return run_id

    async def test(url: str) -> None:
        async with opened(tmp_path, None, engine, url_allow=("127.0.0.1",)) as runs:
            run_ids = [await cancelled(runs, stage, url) for stage in STAGES]
            for run_id in run_ids:
                assert not await runs.cancel(run_id)
                assert await settled(runs, run_id) == "success"
            ends = [event["run_id"] for event in receiver.events if event["status"] == "cancelled"]
            assert sorted(ends) == sorted(run_ids), "told once of each"
            engine.jobs.clear()
            [run] = await draw(runs, await edit(runs))
            assert (run.status, len(engine.jobs)) == ("success", 1)

    with receiving(gateway_secret(tmp_path)) as receiver:
        asyncio.run(test(receiver.url))


async def _cancelled_at(runs: Runs, wanted: Order, is_there: Callable[[], bool]) -> str:
    """A run that is cancelled as soon as it is where it is held up."""
    [new] = await runs.accept([wanted], OWNER)

    async def come() -> bool:
        return is_there()

    await until(come)
    await asyncio.sleep(0.02)
    assert await runs.cancel(new.id)
    assert (await runs.wait(new.id, OWNER)).status == "cancelled"
    return new.id


async def _is_free(runs: Runs, run_id: str | None = None) -> bool:
    """Whether a run, or any, has no place, no claim, no memory and no task."""
    performer = runs.performer
    left = {*performer.tasks, *performer.held, *runs.durable.doing}
    with runs.engine.connect() as connection:
        left |= set(connection.execute(sa.select(places.c.run_id)).scalars())
        left |= set(connection.execute(sa.select(claims.c.subject)).scalars())
    if run_id is not None:
        return run_id not in left and performer.equipment.darkroom.used_bytes == 0
    return not left
