"""Memory for pictures: taken before it is used, waited for, and given back whatever happens."""

import asyncio
from pathlib import Path

import pytest

from gateway.errors import TooLarge
from gateway.images.darkroom import MIB, Darkroom
from gateway.settings import Settings


def room(folder: Path) -> Darkroom:
    """Four MiB for all, three for one."""
    return Darkroom(Settings(data=folder, picture_mib=4, run_picture_mib=3))


def test_no_share_is_larger_than_one_may_be(tmp_path: Path) -> None:
    async def test() -> None:
        darkroom = room(tmp_path)
        with darkroom.share() as share:
            await share.take(3 * MIB)
            with pytest.raises(TooLarge):
                await share.take(1)
        assert darkroom.used_bytes == 0

    asyncio.run(test())


def test_whoever_finds_no_room_waits_for_it(tmp_path: Path) -> None:
    async def test() -> None:
        darkroom = room(tmp_path)
        with darkroom.share() as first, darkroom.share() as second:
            await first.take(3 * MIB)
            waiting = asyncio.create_task(second.take(2 * MIB))
            await asyncio.sleep(0)
            assert not waiting.done()
            first.give(MIB)
            await waiting
        assert darkroom.used_bytes == 0

    asyncio.run(test())


def test_two_that_wait_for_each_other_both_get_done(tmp_path: Path) -> None:
    async def test() -> None:
        darkroom = room(tmp_path)

        async def work() -> None:
            with darkroom.share() as share:
                await share.take(2 * MIB)
                await asyncio.sleep(0)
                await share.take(MIB)

        async with asyncio.timeout(10):
            await asyncio.gather(*(work() for _ in range(20)))
        assert darkroom.used_bytes == 0

    asyncio.run(test())


def test_one_that_waits_can_be_cancelled_and_holds_nothing(tmp_path: Path) -> None:
    async def test() -> None:
        darkroom = room(tmp_path)

        async def work() -> None:
            with darkroom.share() as share:
                await share.take(MIB)
                async with share.holding(2 * MIB):
                    await asyncio.Event().wait()

        first, second = asyncio.create_task(work()), asyncio.create_task(work())
        await asyncio.sleep(0.01)
        assert darkroom.used_bytes == 4 * MIB
        for task in (second, first):
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert darkroom.used_bytes == 0

    asyncio.run(test())
