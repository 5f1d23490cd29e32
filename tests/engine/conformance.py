"""What any engine must do, each promise once: an implementation passes all, or is none.

`WORKING` are promises of an engine that has started; those of starting and stopping are in
`lifetimes.py`. An implementation's test gives each a `Bench`; `test_conformance.py` shows how.
Nothing here waits for a while: what is awaited is the thing itself.
"""

import asyncio
import gc
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from typing import Any

import pytest

from gateway.catalog.cards import CardError
from gateway.errors import FAILURES, GatewayError, ModelNotFound, Overloaded
from gateway.job import AdapterUse, Event, Failed, Finished, Preview, StepDone
from tests.engine.bench import Bench

LEAST_BATCH, MOST_PLACES = 2, 64
"""Engines under the kit draw so few at once that others wait, and let so few in."""

Promise = Callable[[Bench], Awaitable[None]]
WORKING: list[Promise] = []


def working(promise: Promise) -> Promise:
    """One more promise of an engine that has started."""
    WORKING.append(promise)
    return promise


def ends(events: list[Event]) -> list[Finished | Failed]:
    """The ends of samples, in the order in which they came."""
    return [event for event in events if isinstance(event, Finished | Failed)]


def pixels(events: list[Event]) -> list[bytes]:
    """The pictures of all samples, by number; none may have failed."""
    found = {end.sample: end for end in ends(events)}
    assert all(isinstance(end, Finished) for end in found.values()), found
    return [end.pixels.data for _, end in sorted(found.items()) if isinstance(end, Finished)]


@working
async def every_sample_ends_once_after_its_steps(bench: Bench) -> None:
    events = await bench.drawn(bench.job(seeds=(1, 2, 3), num_inference_steps=4))
    assert sorted(end.sample for end in ends(events)) == [0, 1, 2]
    for number in range(3):
        own = [event for event in events if event.sample == number]
        assert [event.step for event in own if isinstance(event, StepDone)] == [1, 2, 3, 4]
        assert isinstance(own[-1], Finished)
        assert all(step.num_steps == 4 for step in own if isinstance(step, StepDone))


@working
async def a_picture_is_its_seeds_whoever_is_beside(bench: Bench) -> None:
    alone = [pixels(await bench.drawn(bench.job(seeds=(seed,))))[0] for seed in (1, 2, 3)]
    crowd = [bench.job(f"somebody {n}", seeds=(n, n + 1)) for n in range(10, 14)]
    together, *_ = await asyncio.gather(
        bench.drawn(bench.job(seeds=(1, 2, 3))), *map(bench.drawn, crowd)
    )
    for one, same in zip(alone, pixels(together), strict=True):
        assert len(one) == 3 * bench.size**2
        assert max(abs(a - b) for a, b in zip(one, same, strict=True)) <= 1
    assert len(set(alone)) == 3


@working
async def previews_come_in_order_before_the_end(bench: Bench) -> None:
    events = await bench.drawn(bench.job(seeds=(1, 2), num_inference_steps=6, num_previews=2))
    for number in (0, 1):
        own = [event for event in events if event.sample == number]
        previews = [event for event in own if isinstance(event, Preview)]
        assert [preview.index for preview in previews] == [0, 1]
        assert isinstance(own[-1], Finished)
        for seen in (preview.pixels for preview in previews):
            assert len(seen.data) == seen.width * seen.height * seen.channels


@working
async def a_fault_is_told_to_those_it_is_of(bench: Bench) -> None:
    failing = bench.job(seeds=(1, 2), **bench.failing)
    faults, others = await asyncio.gather(
        bench.drawn(failing), bench.drawn(bench.job(seeds=(3, 4)))
    )
    assert sorted(end.sample for end in ends(faults)) == [0, 1]
    for end in ends(faults):
        assert isinstance(end, Failed)
        assert end.code in FAILURES
        assert end.message
        assert isinstance(end.error(), GatewayError)
    assert len(pixels(others)) == 2
    assert len(pixels(await bench.drawn(bench.job()))) == 1


@working
async def what_is_not_served_is_not_found(bench: Bench) -> None:
    for gone in ({"endpoint": "no such"}, {"adapters": (AdapterUse("no such"),)}):
        try:
            told = await bench.drawn(bench.job(**gone))
        except ModelNotFound:
            continue
        assert {getattr(end, "code", None) for end in ends(told)} == {"model_not_found"}
    with pytest.raises(ModelNotFound):
        await _within(bench, bench.engine.load_adapter("no such", bench.adapter))


@working
async def a_full_door_refuses_before_anything_begins(bench: Bench) -> None:
    inside, refusal = _filled(bench, "interactive")
    assert refusal.retry_after_seconds is not None
    assert refusal.retry_after_seconds > 0
    assert bench.num_inside == len(inside)
    for stream in inside:
        await stream.aclose()
    await bench.until_idle()
    assert pixels(await bench.drawn(bench.job()))


@working
async def a_batch_leaves_people_their_door(bench: Bench) -> None:
    inside, _ = _filled(bench, "batch")
    assert pixels(await bench.drawn(bench.job()))
    for stream in inside:
        await stream.aclose()
    await bench.until_idle()


@working
async def people_pass_a_batch(bench: Bench) -> None:
    batch = [
        bench.engine.submit(bench.job(f"line {n}", num_inference_steps=15, priority="batch"))
        for n in range(3 * LEAST_BATCH)
    ]
    lines = [asyncio.create_task(bench.rest(stream)) for stream in batch]
    await bench.until(lambda: bench.engine.status().num_running > 0)
    assert pixels(await bench.drawn(bench.job()))
    assert not all(line.done() for line in lines)
    assert all(pixels(events) for events in await asyncio.gather(*lines))


@working
async def closing_frees_the_place(bench: Bench) -> None:
    await _frees(bench, lambda stream: stream.aclose())


@working
async def closing_what_has_not_begun_frees_the_place(bench: Bench) -> None:
    await _frees(bench, lambda stream: stream.aclose(), is_read=False)


@working
async def throwing_frees_the_place(bench: Bench) -> None:
    async def throw(stream: AsyncGenerator[Event]) -> None:
        with pytest.raises(KeyError):
            await stream.athrow(KeyError("enough"))

    await _frees(bench, throw)


@working
async def dropping_frees_the_place(bench: Bench) -> None:
    await _frees(bench, _dropped)


@working
async def dropping_what_has_not_begun_frees_the_place(bench: Bench) -> None:
    await _frees(bench, _dropped, is_read=False)


@working
async def a_cancelled_reader_frees_the_place(bench: Bench) -> None:
    async def cancel(stream: AsyncGenerator[Event]) -> None:
        async def read() -> None:
            async with aclosing(stream):
                async for _ in stream:
                    pass

        reading = asyncio.create_task(read())
        await asyncio.sleep(0)
        reading.cancel()
        with suppress(asyncio.CancelledError):
            await reading

    await _frees(bench, cancel)


@working
async def nothing_comes_after_the_end(bench: Bench) -> None:
    stream = bench.engine.submit(bench.job(seeds=(1, 2)))
    assert len(ends(await bench.rest(stream))) == 2
    assert await bench.rest(stream) == []
    await stream.aclose()
    closed = bench.engine.submit(bench.job(num_inference_steps=bench.long))
    await bench.first(closed)
    await closed.aclose()
    await closed.aclose()
    assert await bench.rest(closed) == []
    await bench.until_idle()


@working
async def a_deadline_that_has_passed_is_told_and_draws_nothing(bench: Bench) -> None:
    await bench.drawn(bench.job())
    soon = time.monotonic() + 0.05
    late = bench.job(seeds=(1, 2), num_inference_steps=bench.long, deadline=soon)
    try:
        told = await bench.drawn(late)
    except Overloaded:
        return  # it was seen at the door that it cannot be met
    assert [end.sample for end in sorted(ends(told), key=lambda end: end.sample)] == [0, 1]
    assert {getattr(end, "code", None) for end in ends(told)} == {"deadline_exceeded"}


@working
async def a_deadline_far_off_changes_nothing(bench: Bench) -> None:
    far = time.monotonic() + 10_000
    assert pixels(await bench.drawn(bench.job(deadline=far))) == pixels(
        await bench.drawn(bench.job())
    )


@working
async def a_stream_that_nobody_reads_holds_up_nobody(bench: Bench) -> None:
    unread = bench.engine.submit(bench.job("unread", seeds=(1, 2), num_previews=1))
    assert pixels(await bench.drawn(bench.job()))
    assert len(pixels(await bench.rest(unread))) == 2


@working
async def status_counts_what_is_inside(bench: Bench) -> None:
    await bench.drawn(bench.job())
    await bench.until_idle()
    idle = bench.engine.status()
    assert idle.ready
    assert idle.fault is None
    assert (idle.queued_seconds, idle.batch_seconds) == (0, 0)
    assert bench.endpoint in {one.id for one in idle.loaded}
    seeds = tuple(range(2 * LEAST_BATCH + 2))
    crowd = bench.engine.submit(bench.job(seeds=seeds, num_inference_steps=bench.long))
    assert bench.num_inside == len(seeds)
    await bench.first(crowd)
    await bench.until(lambda: bench.engine.status().num_running > 0)
    assert bench.num_inside == len(seeds)
    await bench.until(lambda: bench.engine.status().queued_seconds > 0)
    assert bench.engine.status().num_waiting > 0
    await crowd.aclose()
    await bench.until_idle()
    await bench.until(lambda: bench.engine.status().queued_seconds == 0)


@working
async def an_adapter_is_loaded_when_it_is_asked_for(bench: Bench) -> None:
    for _ in range(2):
        await _within(bench, bench.engine.load_adapter(bench.endpoint, bench.adapter))
        await bench.until(lambda: bench.adapter in _loaded(bench))
    use = (AdapterUse(bench.adapter),)
    assert pixels(await bench.drawn(bench.job(adapters=use)))
    for route in (bench.torn, "no such"):
        with pytest.raises((CardError, GatewayError)):
            await _within(bench, bench.engine.load_adapter(bench.endpoint, route))
    assert _loaded(bench) & {bench.torn, "no such"} == set()


@working
async def what_is_served_no_more_is_let_go(bench: Bench) -> None:
    await _within(bench, bench.engine.load_adapter(bench.endpoint, bench.adapter))
    await bench.until(lambda: bench.adapter in _loaded(bench))
    card = bench.collection.latest.adapter(bench.endpoint, bench.adapter)
    bench.collection.withdraw(card)
    try:
        bench.engine.notice()
        await bench.until(lambda: bench.adapter not in _loaded(bench))
        await what_is_not_served_is_not_found(bench)
    finally:
        bench.collection.add(card)
        bench.engine.notice()
    assert pixels(await bench.drawn(bench.job(adapters=(AdapterUse(bench.adapter),))))


@working
async def what_a_model_can_do_is_answered_without_drawing(bench: Bench) -> None:
    assert bench.engine.runs_scheduler(bench.endpoint, None, {}) in (True, None)
    assert bench.engine.runs_scheduler(bench.endpoint, "NoSuchScheduler", {}) in (False, None)
    bench.engine.abilities(bench.endpoint)


async def _within(bench: Bench, work: Awaitable[None]) -> None:
    async with asyncio.timeout(bench.patience_seconds):
        await work


def _loaded(bench: Bench) -> set[str]:
    return {route for one in bench.engine.status().loaded for route in one.adapters}


def _filled(
    bench: Bench, priority: Any
) -> tuple[list[AsyncGenerator[Event]], Overloaded]:
    """Jobs of one owner until one is refused, which is told by `submit` itself."""
    inside: list[AsyncGenerator[Event]] = []
    for number in range(2 * MOST_PLACES):
        job = bench.job(f"{number}", num_inference_steps=bench.long, priority=priority)
        try:
            inside.append(bench.engine.submit(job))
        except Overloaded as refusal:
            assert inside
            return inside, refusal
    raise AssertionError("everyone was let in")


async def _frees(
    bench: Bench,
    leave: Callable[[AsyncGenerator[Event]], Awaitable[None]],
    *,
    is_read: bool = True,
) -> None:
    """Who leaves is gone within a step: long before another who draws as long has ended."""
    await bench.drawn(bench.job())
    witness = bench.engine.submit(bench.job("witness", num_inference_steps=bench.long))
    await bench.first(witness)
    leaver = bench.job("leaves", seeds=(1, 2, 3), num_inference_steps=3 * bench.long)
    streams = [bench.engine.submit(leaver)]
    if is_read:
        await bench.first(streams[0])
    assert bench.num_inside == 4
    leaving = leave(streams.pop())
    await leaving
    del leaving
    gc.collect()
    async for event in witness:
        assert not isinstance(event, Finished | Failed), "its place was kept to the end"
        if bench.num_inside == 1:
            break
    await witness.aclose()
    await bench.until_idle()


async def _dropped(stream: AsyncGenerator[Event]) -> None:
    del stream
