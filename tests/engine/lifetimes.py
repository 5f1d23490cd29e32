"""What any engine must do of starting and stopping, in whatever order; see `conformance.py`."""

import asyncio
import time
from contextlib import suppress

import pytest

from gateway.errors import GatewayError, ShuttingDown
from gateway.job import Failed
from tests.engine.bench import Bench
from tests.engine.conformance import Promise, ends, pixels

LIVING: list[Promise] = []
"""Promises of an engine that has not started, and that nobody else has."""


def living(promise: Promise) -> Promise:
    """One more of them."""
    LIVING.append(promise)
    return promise


@living
async def it_is_ready_from_its_start_to_its_stop(bench: Bench) -> None:
    assert not bench.engine.status().ready
    await _start(bench)
    await bench.until(lambda: bench.engine.status().ready)
    await _stop(bench)
    assert not bench.engine.status().ready
    assert bench.engine.status().fault


@living
async def what_came_before_the_start_is_drawn(bench: Bench) -> None:
    early = bench.engine.submit(bench.job(seeds=(1, 2)))
    assert bench.num_inside == 2
    await _start(bench)
    assert len(pixels(await bench.rest(early))) == 2


@living
async def a_second_start_changes_nothing(bench: Bench) -> None:
    await _start(bench)
    await _start(bench)
    assert pixels(await bench.drawn(bench.job()))


@living
async def it_can_stop_before_it_has_started(bench: Bench) -> None:
    early = bench.engine.submit(bench.job(seeds=(1, 2)))
    await _stop(bench)
    _check_refused(bench)
    assert [type(end) for end in ends(await bench.rest(early))] == [Failed, Failed]
    await _start(bench)
    _check_refused(bench)
    assert not bench.engine.status().ready


@living
async def it_can_stop_while_it_starts(bench: Bench) -> None:
    early = bench.engine.submit(bench.job())
    starting = asyncio.create_task(bench.engine.start())
    await asyncio.sleep(0)
    await _stop(bench)
    async with asyncio.timeout(bench.patience_seconds):
        with suppress(GatewayError):
            await starting
    _check_refused(bench)
    assert len(ends(await bench.rest(early))) == 1
    assert not bench.engine.status().ready


@living
async def it_can_stop_twice(bench: Bench) -> None:
    await _start(bench)
    await asyncio.gather(_stop(bench), _stop(bench))
    await _stop(bench)
    _check_refused(bench)


@living
async def stopping_lets_what_is_inside_finish_and_refuses_the_rest(bench: Bench) -> None:
    await _start(bench)
    inside = bench.engine.submit(bench.job(seeds=(1, 2)))
    stopping = asyncio.create_task(bench.engine.stop(bench.patience_seconds))
    await asyncio.sleep(0)
    _check_refused(bench)
    assert len(pixels(await bench.rest(inside))) == 2
    async with asyncio.timeout(bench.patience_seconds):
        await stopping


@living
async def stopping_without_grace_tells_everyone(bench: Bench) -> None:
    await _start(bench)
    seeds = tuple(range(8))
    inside = bench.engine.submit(bench.job(seeds=seeds, num_inference_steps=3 * bench.long))
    await bench.first(inside)
    await _stop(bench)
    told = ends(await bench.rest(inside))
    assert sorted(end.sample for end in told) == list(seeds)
    assert {getattr(end, "code", None) for end in told} == {ShuttingDown.code}
    assert bench.num_inside == 0


@living
async def nothing_is_loaded_after_the_stop(bench: Bench) -> None:
    await _start(bench)
    await _stop(bench)
    async with asyncio.timeout(bench.patience_seconds):
        with pytest.raises(GatewayError):
            await bench.engine.load_adapter(bench.endpoint, bench.adapter)
    bench.engine.notice()


@living
async def who_waits_for_an_adapter_is_told_of_the_stop(bench: Bench) -> None:
    loading = asyncio.create_task(bench.engine.load_adapter(bench.endpoint, bench.adapter))
    await asyncio.sleep(0)
    await _stop(bench)
    async with asyncio.timeout(bench.patience_seconds):
        with pytest.raises(GatewayError):
            await loading


@living
async def a_deadline_passes_in_mid_picture(bench: Bench) -> None:
    """The door lets it in, for it knows no pace yet."""
    await _start(bench)
    late = bench.job(num_inference_steps=3 * bench.long, deadline=time.monotonic() + 0.2)
    [end] = ends(await bench.drawn(late))
    assert isinstance(end, Failed)
    assert end.code == "deadline_exceeded"
    await bench.until_idle()


async def _start(bench: Bench) -> None:
    async with asyncio.timeout(bench.patience_seconds):
        await bench.engine.start()


async def _stop(bench: Bench) -> None:
    async with asyncio.timeout(bench.patience_seconds):
        await bench.engine.stop(0)


def _check_refused(bench: Bench) -> None:
    with pytest.raises(ShuttingDown):
        bench.engine.submit(bench.job())
