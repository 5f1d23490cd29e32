"""Where pictures from outside come from: how large they are is known before they are read."""

import asyncio
import time
import tracemalloc
from pathlib import Path

import pytest

from gateway.errors import TooLarge
from gateway.runs.library import sources
from gateway.runs.library.library import File
from gateway.runs.runs import Runs
from tests.runs.house import OWNER, opened

SIZE_BYTES = 8 * 2**20


async def named(runs: Runs) -> dict[str, str]:
    """Every way to name a file of this gateway's, which is larger than it is said to be."""
    picture = await runs.signed.pictures.put(bytes(SIZE_BYTES), "png")
    file = File("img_large", OWNER, "large.png", "image/png", 10, time.time())
    await runs.files.put(file.key, bytes(SIZE_BYTES))
    await runs.library.add_file(file)
    host = "https://gateway.example"
    return {
        "a picture's URL": host + runs.signed.pictures.url_path(picture),
        "a file's URL": host + runs.files.path_of(file.key),
        "a file's id": file.id,
    }


def test_what_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MAX_BYTES", SIZE_BYTES - 1)

    async def test() -> None:
        async with opened(tmp_path, None) as runs:
            for way, source in (await named(runs)).items():
                tracemalloc.start()
                with pytest.raises(TooLarge):
                    await runs.sources.load(source, OWNER)
                _, most = tracemalloc.get_traced_memory()
                tracemalloc.stop()
                assert most < SIZE_BYTES / 4, way

    asyncio.run(test())


def test_what_is_as_large_as_may_be_is_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "MAX_BYTES", SIZE_BYTES)

    async def test() -> None:
        async with opened(tmp_path, None) as runs:
            for source in (await named(runs)).values():
                assert len(await runs.sources.load(source, OWNER)) == SIZE_BYTES

    asyncio.run(test())
