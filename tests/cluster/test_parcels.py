"""What comes close together is sent together, and nothing waits for what does not come."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from gateway.cluster.parcels import parcels

LONG_SECONDS = 3600.0


async def numbers(count: int) -> AsyncGenerator[int]:
    for number in range(count):
        yield number


async def test_what_comes_close_together_is_one_parcel_and_the_last_waits_for_nothing() -> None:
    assert [one async for one in parcels(numbers(5), LONG_SECONDS)] == [[0, 1, 2, 3, 4]]
    assert [one async for one in parcels(numbers(0), LONG_SECONDS)] == []


async def test_without_a_wait_each_goes_by_itself() -> None:
    assert [one async for one in parcels(numbers(3), 0.0)] == [[0], [1], [2]]


async def test_what_nothing_follows_is_sent_nevertheless_and_closing_closes() -> None:
    is_closed = asyncio.Event()

    async def endless() -> AsyncGenerator[str]:
        try:
            yield "first"
            await asyncio.Event().wait()
        finally:
            is_closed.set()

    sent = parcels(endless(), 0.01)
    assert await anext(sent) == ["first"]
    following = asyncio.ensure_future(anext(sent))
    await asyncio.sleep(0)
    following.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following
    await sent.aclose()
    assert is_closed.is_set()


async def test_a_fault_is_the_listeners() -> None:
    async def faulty() -> AsyncGenerator[int]:
        yield 1
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        [one async for one in parcels(faulty(), LONG_SECONDS)]
