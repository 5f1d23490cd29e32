"""Where pictures are worked on: a few threads beside the event loop, and so many bytes.

A thread's work cannot be stopped, so each piece is one picture's decoding or one change of
it. Whoever needs memory takes it first, and waits while others have it all.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

from gateway.errors import InvalidRequest, TooLarge
from gateway.settings import Settings

T = TypeVar("T")
THREADS = 2
MIB = 2**20
PIXEL_BYTES = 4
WORKING_COPIES = 3
"""Of a picture that is being changed: what it was, what it becomes, and what lies between."""


class Darkroom:
    """The threads and the memory of one process; every share in it is given back."""

    def __init__(self, settings: Settings) -> None:
        self.total_bytes = int(settings.picture_mib * MIB)
        self.share_bytes = int(settings.run_picture_mib * MIB)
        self._shares: list[Share] = []
        self._waiting: set[asyncio.Future[None]] = set()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="darkroom")

    @property
    def used_bytes(self) -> int:
        """What all shares hold together."""
        return sum(share.held_bytes for share in self._shares)

    async def do(self, work: Callable[..., T], *arguments: Any) -> T:
        """Run one bounded piece of work in a thread; cancelled before it begins, it never does."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)

    @contextmanager
    def share(self) -> Iterator["Share"]:
        """A part of the memory for as long as the block lasts."""
        share = Share(self)
        self._shares.append(share)
        try:
            yield share
        finally:
            self._shares.remove(share)
            self.wake()

    def weigh(self) -> "Weighing":
        """Pictures of one request, before any of them is decoded."""
        return Weighing(self.share_bytes)

    def close(self) -> None:
        """Let the threads go."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def has_room(self, share: "Share", num_bytes: int) -> bool:
        """Whether a share may grow. The oldest always may, so that one of them gets done.

        All of them together stay below the total and one share.
        """
        return share is self._shares[0] or self.used_bytes + num_bytes <= self.total_bytes

    async def wait(self) -> None:
        """Wait until somebody gives something back."""
        given_back = asyncio.get_running_loop().create_future()
        self._waiting.add(given_back)
        try:
            await given_back
        finally:
            self._waiting.discard(given_back)

    def wake(self) -> None:
        """Have those who wait look again."""
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)


class Share:
    """What one piece of work holds of a darkroom's memory."""

    def __init__(self, darkroom: Darkroom) -> None:
        self.darkroom = darkroom
        self.held_bytes = 0

    async def take(self, num_bytes: int) -> None:
        """Take memory, waiting until there is some.

        Raises:
            TooLarge: more than one share may hold.
        """
        if self.held_bytes + num_bytes > self.darkroom.share_bytes:
            most = self.darkroom.share_bytes // MIB
            raise TooLarge(f"The pictures take over {most} MiB, more than one run is given.")
        while not self.darkroom.has_room(self, num_bytes):
            await self.darkroom.wait()
        self.held_bytes += num_bytes

    def give(self, num_bytes: int) -> None:
        """Give memory back."""
        self.held_bytes -= num_bytes
        self.darkroom.wake()

    @asynccontextmanager
    async def holding(self, num_bytes: int) -> AsyncIterator[None]:
        """Memory for as long as the block lasts."""
        await self.take(num_bytes)
        try:
            yield
        finally:
            self.give(num_bytes)


class Weighing:
    """What pictures come to together: never more than one share of the memory."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._num_bytes = self._num_pixels = self._most_pixels = 0

    def add(self, num_bytes: int, size: tuple[int, int], param: str) -> None:
        """One more, of so many bytes and of a `(width, height)` by its head.

        Raises:
            InvalidRequest: by itself or with the others it is too much.
        """
        num_pixels = size[0] * size[1]
        self._num_bytes += num_bytes
        self._num_pixels += num_pixels
        self._most_pixels = max(self._most_pixels, num_pixels)
        at_work = self._num_bytes + self._most_pixels * PIXEL_BYTES * WORKING_COPIES
        if max(at_work, self._num_pixels * PIXEL_BYTES) > self.most_bytes:
            raise InvalidRequest(
                f"The pictures take over {self.most_bytes // MIB} MiB, more than one run is given.",
                param=param,
                code="image_too_large",
            )
