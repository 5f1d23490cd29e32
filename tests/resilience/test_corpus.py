"""Nothing of the corpus is answered by a 5xx, nor keeps the event loop from anybody else.

What counts is the processor time of the loop's own thread between two of its turns, which
other load does not change.
"""

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from gateway.app import create_app
from gateway.settings import Settings
from tests.resilience import corpus
from tests.resilience.hostile import Hostile
from tests.small_engine import TestEngine, small_catalog

PIECE_BYTES = 2**16
STALL_SECONDS = 0.5
"""Ten times the 50 ms that are promised."""


async def longest_turn(until: asyncio.Event) -> float:
    """The most processor time that the loop's thread took between two turns."""
    longest, last = 0.0, time.thread_time()
    while not until.is_set():
        await asyncio.sleep(0.001)
        now = time.thread_time()
        longest, last = max(longest, now - last), now
    return longest


async def pieces(body: bytes) -> AsyncIterator[bytes]:
    """A body as a server has it come."""
    for start in range(0, len(body), PIECE_BYTES):
        yield body[start : start + PIECE_BYTES]
        await asyncio.sleep(0)


async def sent(client: httpx.AsyncClient, hostile: Hostile) -> tuple[int, float]:
    """The status of a request's answer, and the longest turn meanwhile."""
    done = asyncio.Event()
    watching = asyncio.create_task(longest_turn(done))
    await asyncio.sleep(0)
    answer = await client.request(
        hostile.method, hostile.path, content=pieces(hostile.body), headers=hostile.headers
    )
    done.set()
    return answer.status_code, await watching


@pytest.fixture(autouse=True)
def _others_garbage_is_not_collected() -> Iterator[None]:
    """What the tests before have left is as much as a collection walks for half a second."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def test_the_corpus_holds_nobody_up(tmp_path: Path) -> None:
    async def test() -> None:
        engine = TestEngine()
        app = create_app(Settings(data=tmp_path), engine, small_catalog())
        transport = httpx.ASGITransport(cast(Any, app))
        base = "http://127.0.0.1:8000"
        async with (
            app.lifespan(),
            httpx.AsyncClient(transport=transport, base_url=base, timeout=60) as client,
        ):
            for hostile in corpus.requests("tiny", edits=True):
                status, seconds = await sent(client, hostile)
                assert 200 <= status < 500, hostile.name
                assert seconds < STALL_SECONDS, hostile.name

    asyncio.run(test())
