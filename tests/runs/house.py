"""Runs on a small engine, opened inside the test."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image

from gateway.accounts.keys import KeyStore
from gateway.catalog.collection import Collection
from gateway.images.darkroom import Darkroom
from gateway.images.decode import decode
from gateway.images.signing import Signer
from gateway.runs.batches.records import Answer, Batch, KeptFile, Line
from gateway.runs.drawing.perform import Equipment
from gateway.runs.library.library import File
from gateway.runs.records import Order, Run
from gateway.runs.runs import Runs
from gateway.settings import Settings
from tests.small_engine import TestEngine, small_catalog

T = TypeVar("T")
OWNER = "ann"


@asynccontextmanager
async def opened(
    data: Path, database: str | None, engine: TestEngine | None = None, **settings: Any
) -> AsyncIterator[Runs]:
    """Runs for as long as the block lasts."""
    chosen = Settings(data=data, database=database, **settings)
    equipment = Equipment(
        engine=engine or TestEngine(),
        collection=Collection.of(small_catalog()),
        settings=chosen,
        darkroom=Darkroom(chosen),
    )
    async with Runs.opened(equipment, KeyStore(data), refuse) as runs:
        yield runs


def gateway_secret(data: Path) -> str:
    """What signs the webhooks of a folder's runs that no key asked for."""
    return Signer.of_folder(data).webhook_secrets()[0]


async def refuse(batch: Batch, line: Line) -> Answer:
    """These tests have no batches."""
    raise AssertionError("nothing answers lines here")


def order(prompt: str = "a cat", **fields: Any) -> Order:
    """An order of the small model; its seed is 7 unless said otherwise."""
    inputs = {"prompt": prompt, "seed": fields.pop("seed", 7)}
    return Order(model_id="tiny", inputs=inputs, **fields)


async def kept(
    runs: Runs, name: str, data: bytes, purpose: str = "batch", expires_at: float | None = None
) -> KeptFile:
    """A file of OWNER's."""
    async with runs.quota.room(OWNER, len(data)) as room:
        return await runs.batches.keep_file(room, name, purpose, BytesIO(data), expires_at)


async def uploaded(runs: Runs, name: str, data: bytes) -> File:
    """A picture that OWNER uploaded to draw from."""
    async with runs.quota.room(OWNER, len(data)) as room:
        return await runs.uploads.keep(room, name, "image/png", BytesIO(data))


async def draw(runs: Runs, *orders: Order) -> list[Run]:
    """Runs from acceptance to their end."""
    new = await runs.accept(orders, OWNER)
    return list(await asyncio.gather(*(runs.wait(run.id, OWNER) for run in new)))


async def until(check: Callable[[], Awaitable[T]], seconds: float = 60) -> T:
    """What a check finds once it finds something."""
    async with asyncio.timeout(seconds):
        while not (found := await check()):
            await asyncio.sleep(0.02)
    return found


async def pictures(runs: Runs, run_id: str) -> list[Image.Image]:
    """Those that a run drew."""
    found = []
    for output in await runs.outputs(run_id):
        for item in output.items:
            data = await runs.files.get(item.key)
            assert data is not None
            found.append(decode(data, "picture"))
    return found
