"""Whatever becomes of the store, its faults are errors of the family, and pass with their cause."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.errors import NotStored, StoreUnavailable
from gateway.images import objects
from gateway.images.objects import Objects
from gateway.settings import Settings, SettingsError

WITHOUT_DESCRIPTORS = """
import asyncio, resource, socket, sys
from pathlib import Path
from gateway.errors import GatewayError
from gateway.images.objects import Objects
from gateway.settings import Settings, SettingsError
from gateway.telemetry.log import configure_logs

configure_logs()
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

def without_descriptors(store, used_before):
    async def use():
        if used_before:
            await store.prove()
        held = []
        try:
            while True:
                held.append(socket.socket())
        except OSError:
            pass
        try:
            await store.put("key", b"bytes")
        except GatewayError as error:
            print(type(error).__name__, error.message)
        for one in held:
            one.close()
        try:
            await store.prove()
        except SettingsError as error:
            print(error)
        else:
            print("mended")
    asyncio.run(use())

without_descriptors(Objects(Settings(data=Path(sys.argv[1]))), sys.argv[2] == "used")
"""


def in_a_process(data: Path, used: str) -> list[str]:
    """What a process says whose descriptors run out before or after the store's first use."""
    command = [sys.executable, "-c", WITHOUT_DESCRIPTORS, str(data), used]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.splitlines()


def test_a_store_used_at_start_outlives_a_want_of_descriptors(tmp_path: Path) -> None:
    refused, mended = in_a_process(tmp_path, "used")
    assert refused == "NotStored It could not be stored: Too many open files."
    assert mended == "mended"


def test_a_store_that_broke_down_for_good_says_so(tmp_path: Path) -> None:
    refused, still = in_a_process(tmp_path, "unused")
    assert refused.startswith("NotStored")
    assert "the process has to be started anew" in still


async def test_a_fault_names_its_reason_and_no_place(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    store = Objects(Settings(data=tmp_path, store=str(folder)))
    await store.put("a/b", b"1")
    (folder / "a" / "b").unlink()
    (folder / "a").rmdir()
    folder.rmdir()
    folder.write_text("no folder")
    for work in (store.put("a/b", b"1"), store.get("a/b"), store.open("a/b")):
        with pytest.raises((NotStored, StoreUnavailable)) as fault:
            await work
        assert str(tmp_path) not in fault.value.message
    folder.unlink()
    await store.put("a/b", b"1")
    assert await store.get("a/b") == b"1"


async def test_a_probe_is_as_large_as_what_was_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "PROVEN_SECONDS", 0)
    store = Objects(Settings(data=tmp_path))
    await store.put("file", b"1")
    sizes = []
    put = store.put

    async def watched(key: str, data: bytes) -> None:
        sizes.append(len(data))
        await put(key, data)

    monkeypatch.setattr(store, "put", watched)
    await store.check()
    with pytest.raises(NotStored):
        await put("file/in/a/file", bytes(100_000))
    await store.check()
    await store.check()
    assert sizes == [objects.PROBE_BYTES, 100_000, objects.PROBE_BYTES]
    assert await store.keys("") == ["file"]


async def test_keys_are_listed_by_age_and_deleted(tmp_path: Path) -> None:
    store = Objects(Settings(data=tmp_path))
    await store.put("one/a", b"1")
    await store.put("one/b", b"2")
    await store.put("two/c", b"3")
    now = datetime.now(UTC)
    assert sorted(await store.keys("one/")) == ["one/a", "one/b"]
    assert await store.keys("one/", before=now - timedelta(seconds=60)) == []
    await store.delete(["one/a", "one/b"])
    await store.delete(["one/a"])
    await store.delete([])
    assert await store.keys("") == ["two/c"]


@pytest.mark.parametrize("location", ["/dev/null/pictures", "s3://", "ftp://host/x"])
def test_a_place_that_is_none_is_one_line(tmp_path: Path, location: str) -> None:
    with pytest.raises(SettingsError, match="GATEWAY_STORE") as fault:
        Objects(Settings(data=tmp_path, store=location))
    assert "\n" not in str(fault.value)


async def test_what_is_read_piece_by_piece_is_never_in_memory_whole(tmp_path: Path) -> None:
    store, data = Objects(Settings(data=tmp_path)), bytes(2**22)
    await store.put("key", data)
    stored = await store.open("key")
    assert stored is not None
    pieces = [piece async for piece in stored.pieces()]
    assert b"".join(pieces) == data
    assert max(map(len, pieces)) <= 2 * objects.PIECE_BYTES
