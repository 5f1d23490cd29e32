"""Events travel in parcels: what comes close together is sent together.

Carrying one item out of a streaming call costs Ray milliseconds on both sides, whatever is in
it; a step of a small model takes less.
"""

import asyncio
from collections.abc import AsyncGenerator
from typing import TypeVar

T = TypeVar("T")

WAIT_SECONDS = 0.05
"""How long an event waits at most for others; the last of them wait for nothing."""


async def parcels(
    items: AsyncGenerator[T], seconds: float = WAIT_SECONDS
) -> AsyncGenerator[list[T]]:
    """The items in their order, in lists; closing it closes them."""
    clock = asyncio.get_running_loop().time
    upcoming: asyncio.Future[T] | None = None
    parcel: list[T] = []
    due = 0.0
    try:
        while True:
            upcoming = upcoming or asyncio.ensure_future(anext(items))
            await asyncio.wait({upcoming}, timeout=due - clock() if parcel else None)
            if upcoming.done():
                try:
                    item = upcoming.result()
                except StopAsyncIteration:
                    break
                upcoming = None
                due = due if parcel else clock() + seconds
                parcel.append(item)
            if clock() >= due:
                yield parcel
                parcel = []
        if parcel:
            yield parcel
    finally:
        if upcoming is not None:
            upcoming.cancel()
            await asyncio.wait({upcoming})
        await items.aclose()
