"""Retries join the work in flight; the last to leave cancels it."""

import asyncio

import pytest

from gateway.web.door.flights import Flights


class Work:
    """Counts how often it was started and cancelled; ends when `done` is set."""

    def __init__(self) -> None:
        self.num_started = 0
        self.num_cancelled = 0
        self.done = asyncio.Event()

    async def run(self) -> int:
        self.num_started += 1
        number = self.num_started
        try:
            await self.done.wait()
        except asyncio.CancelledError:
            self.num_cancelled += 1
            raise
        return number


async def fly(flights: Flights[int], work: Work, *, is_retry: bool, linger: float = 0.0) -> int:
    async with flights.aboard("key", work.run, is_retry=is_retry, linger_seconds=linger) as task:
        return await asyncio.shield(task)


async def test_a_retry_joins_and_a_twin_does_not() -> None:
    flights, work = Flights[int](), Work()
    first = asyncio.create_task(fly(flights, work, is_retry=False))
    await asyncio.sleep(0.01)
    retry = asyncio.create_task(fly(flights, work, is_retry=True))
    await asyncio.sleep(0.01)
    assert work.num_started == 1
    twin = asyncio.create_task(fly(flights, work, is_retry=False))
    await asyncio.sleep(0.01)
    assert work.num_started == 2
    work.done.set()
    assert [await first, await retry, await twin] == [1, 1, 2]


async def test_the_last_to_leave_cancels() -> None:
    flights, work = Flights[int](), Work()
    waiters = [asyncio.create_task(fly(flights, work, is_retry=True)) for _ in range(2)]
    await asyncio.sleep(0.01)
    waiters[0].cancel()
    await asyncio.sleep(0.02)
    assert work.num_cancelled == 0
    waiters[1].cancel()
    await asyncio.sleep(0.02)
    assert work.num_cancelled == 1


async def test_work_lingers_for_a_client_that_tries_again() -> None:
    flights, work = Flights[int](), Work()
    first = asyncio.create_task(fly(flights, work, is_retry=False, linger=0.2))
    await asyncio.sleep(0.01)
    first.cancel()
    await asyncio.sleep(0.01)
    again = asyncio.create_task(fly(flights, work, is_retry=False))
    await asyncio.sleep(0.3)
    work.done.set()
    assert await again == 1
    assert (work.num_started, work.num_cancelled) == (1, 0)


async def test_what_landed_is_not_joined() -> None:
    flights, work = Flights[int](), Work()
    work.done.set()
    assert await fly(flights, work, is_retry=True) == 1
    assert await fly(flights, work, is_retry=True) == 2


async def test_a_fault_reaches_everyone_aboard() -> None:
    flights: Flights[int] = Flights()

    async def failing() -> int:
        await asyncio.sleep(0.01)
        raise ValueError("broken")

    async def aboard() -> int:
        options = {"is_retry": True, "linger_seconds": 0.0}
        async with flights.aboard("key", failing, **options) as task:  # type: ignore[arg-type]
            return await asyncio.shield(task)

    for result in await asyncio.gather(aboard(), aboard(), return_exceptions=True):
        assert isinstance(result, ValueError)
    with pytest.raises(ValueError, match="broken"):
        await aboard()
