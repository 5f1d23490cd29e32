"""What a key may keep: counted exactly, by several processes at once, and after a crash."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import pytest
import sqlalchemy as sa

from gateway.errors import Conflict, Forbidden, GatewayError, RateLimited, StorageFull, TooLarge
from gateway.runs.durable.schema import kept as kept_rows
from gateway.runs.library import quota
from gateway.runs.library.quota import LEAST_BYTES, WRITE_SECONDS, Quota
from gateway.runs.runs import Runs
from tests.runs.house import OWNER, kept, opened, uploaded

MIB = 2**20
GIB_OF_A_MIB = 1 / 1024
FEW = 5


async def body(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def age(runs: Runs, seconds: float) -> None:
    """Let what is held be as if it had been for longer."""
    with runs.engine.begin() as connection:
        connection.execute(sa.update(kept_rows).values(until=kept_rows.c.until - seconds))


async def test_what_is_kept_counts_and_what_is_deleted_does_not(
    tmp_path: Path, database: str | None
) -> None:
    async with opened(tmp_path, database, kept_gib=GIB_OF_A_MIB) as runs:
        file = await uploaded(runs, "a.png", bytes(500_000))
        assert (await uploaded(runs, "a.png", bytes(500_000))).id == file.id
        assert await runs.quota.total(OWNER) == 500_000
        batch_file = await kept(runs, "lines.jsonl", bytes(500_000))
        small = await kept(runs, "small", b"")
        assert await runs.quota.total(OWNER) == 1_000_000 + LEAST_BYTES
        with pytest.raises(StorageFull, match="Delete files") as refused:
            await uploaded(runs, "b.png", bytes(100_000))
        assert (refused.value.status, refused.value.code) == (413, "storage_quota_exceeded")
        async with runs.quota.room("somebody else", MIB):
            pass
        await runs.batches.delete_file(batch_file)
        await runs.batches.delete_file(small)
        other = await uploaded(runs, "b.png", bytes(100_000))
        assert await runs.uploads.sweep(other.created_at + 1) == 2
        assert await runs.quota.total(OWNER) == 0


async def test_what_does_not_come_gives_its_room_back(tmp_path: Path) -> None:
    async with opened(tmp_path, None) as runs:
        file = await uploaded(runs, "a.png", b"same")

        async def broken_off(key: str) -> None:
            async with asyncio.timeout(0.1), runs.quota.room(OWNER, MIB) as room:
                assert await runs.quota.total(OWNER) == MIB + LEAST_BYTES
                await room.take(key, 4)
                await asyncio.sleep(10)

        async with runs.quota.room(OWNER, 4) as other:
            await other.take("inputs/twice", 4)
            async with runs.quota.room(OWNER, 4) as room:
                await room.take("inputs/twice", 4)
                await room.settle()
        assert await runs.quota.total(OWNER) == 2 * LEAST_BYTES
        await runs.quota.release("inputs/twice")
        for key in ("inputs/new", file.key):
            with pytest.raises(TimeoutError):
                await broken_off(key)
            assert await runs.quota.total(OWNER) == LEAST_BYTES
        assert await runs.files.get(file.key) == b"same"


async def test_processes_share_one_limit(tmp_path: Path, database: str | None) -> None:
    async with opened(tmp_path, database, kept_gib=GIB_OF_A_MIB) as runs:
        with ThreadPoolExecutor(8) as threads:
            others = [Quota(runs.engine, threads, MIB, runs.calendar.now) for _ in range(4)]

            async def ask(number: int) -> bool:
                key = f"inputs/{number}"
                try:
                    await others[number % 4].promise(OWNER, key, 100_000, 60)
                except StorageFull:
                    return False
                return True

            granted = await asyncio.gather(*(ask(number) for number in range(40)))
            assert sum(granted) == 10
            assert await runs.quota.total(OWNER) == 1_000_000


async def test_what_a_crash_left_is_swept_with_its_bytes(
    tmp_path: Path, database: str | None
) -> None:
    async with opened(tmp_path, database) as runs:
        with suppress(asyncio.CancelledError):
            async with runs.quota.room(OWNER, 10) as room:
                await room.take("inputs/left", 10)
                await runs.files.put("inputs/left", b"0123456789")
                room.is_held = False  # as a process that is killed here would leave it
                raise asyncio.CancelledError
    async with opened(tmp_path, database) as runs:
        assert await runs.quota.total(OWNER) == LEAST_BYTES
        assert await runs.uploads.sweep(0) == 0
        await age(runs, WRITE_SECONDS + 1)
        assert await runs.uploads.sweep(0) == 1
        assert await runs.quota.total(OWNER) == 0
        assert await runs.files.get("inputs/left") is None


async def test_a_promise_is_kept_once_and_of_its_size(tmp_path: Path) -> None:
    async with opened(tmp_path, None) as runs:
        file = await runs.uploads.promise(OWNER, "image/png", "png", 10)
        for wrong in ((b"012345", b"6789x"), (b"012", b""), ()):
            with pytest.raises(GatewayError, match="announced"):
                await runs.uploads.take(file.key, body(*wrong), None)
            assert await runs.files.get(file.key) is None
        with pytest.raises(TooLarge, match="announced"):
            await runs.uploads.take(file.key, body(b"0123456789"), 11)
        await runs.uploads.take(file.key, body(b"01234", b"56789"), 10)
        with pytest.raises(Conflict, match="has been used"):
            await runs.uploads.take(file.key, body(b"9876543210"), 10)
        assert await runs.files.get(file.key) == b"0123456789"


async def test_only_one_writer_at_a_time(tmp_path: Path) -> None:
    async with opened(tmp_path, None) as runs:
        file = await runs.uploads.promise(OWNER, "image/png", "png", 10)
        begun, going_on = asyncio.Event(), asyncio.Event()

        async def slow() -> AsyncIterator[bytes]:
            begun.set()
            yield b"01234"
            await going_on.wait()
            yield b"56789"

        writing = asyncio.create_task(runs.uploads.take(file.key, slow(), None))
        await begun.wait()
        with pytest.raises(Conflict):
            await runs.uploads.take(file.key, body(b"9876543210"), None)
        going_on.set()
        await writing
        assert await runs.files.get(file.key) == b"0123456789"


async def test_promises_expire_and_are_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quota, "OPEN_UPLOADS", FEW)
    async with opened(tmp_path, None) as runs:
        promised = [await runs.uploads.promise(OWNER, "image/png", "png", 10) for _ in range(FEW)]
        with pytest.raises(RateLimited) as refused:
            await runs.uploads.promise(OWNER, "image/png", "png", 10)
        assert refused.value.retry_after_seconds is not None
        assert 800 < refused.value.retry_after_seconds <= 900
        await runs.uploads.promise("bob", "image/png", "png", 10)
        await age(runs, 901)
        with pytest.raises(Forbidden, match="expired"):
            await runs.uploads.take(promised[0].key, body(b"0123456789"), None)
        assert await runs.uploads.sweep(0) == FEW + 1
        assert await runs.quota.total(OWNER) == 0
        assert await runs.library.file(promised[0].id, OWNER) is None
        await runs.uploads.promise(OWNER, "image/png", "png", 10)


async def test_without_a_size_the_most_is_held_and_what_came_is_kept(tmp_path: Path) -> None:
    async with opened(tmp_path, None, kept_gib=0.25) as runs:
        file = await runs.uploads.promise(OWNER, "image/png", "png", 0)
        with pytest.raises(StorageFull):
            await runs.uploads.promise(OWNER, "image/png", "png", 0)
        await runs.uploads.take(file.key, body(bytes(5000)), None)
        assert await runs.quota.total(OWNER) == 5000
        found = await runs.library.file(file.id, OWNER)
        assert found is not None
        assert found.size_bytes == 5000


async def test_zero_is_no_bound(tmp_path: Path) -> None:
    async with opened(tmp_path, None, kept_gib=0) as runs, runs.quota.room(OWNER, 2**50) as room:
        await runs.uploads.keep(room, "a.png", "image/png", BytesIO(bytes(5000)))
        assert await runs.quota.total(OWNER) == 5000
