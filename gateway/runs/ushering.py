"""Letting runs that had to wait begin: as soon as one ends here, and once a second."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import suppress

import sqlalchemy as sa
import structlog

from gateway.outages import is_outage
from gateway.runs.durable.workflows import Durable
from gateway.runs.places import Places

log = structlog.get_logger()
LOOK_SECONDS = 1.0
"""How often to look for places that other processes have given back."""


class Usher:
    """Gives places, and starts the runs that get one: here while there is room, else queued."""

    def __init__(
        self, places: Places, durable: Durable, room: Callable[[], int], threads: Executor
    ) -> None:
        self.places = places
        self.durable = durable
        self._room = room
        self._threads = threads
        self._woken = asyncio.Event()
        self._at_work = asyncio.Lock()

    def wake(self) -> None:
        """A place may have been given back."""
        self._woken.set()

    async def stay(self) -> None:
        """Give places until cancelled; whatever is wrong with one time, there is a next."""
        while True:
            self._woken.clear()
            try:
                await self.give_places()
            except Exception as error:
                told = {"fault": str(error)} if is_outage(error) else {"exc_info": error}
                log.error("runs could not be let in", **told)
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._woken.wait()

    async def give_places(self) -> None:
        """Let those begin who may now."""
        async with self._at_work:
            here = await asyncio.get_running_loop().run_in_executor(self._threads, self._give)
            for run_id in here:
                await self.durable.start_run(run_id)

    def _give(self) -> list[str]:
        """Give every place there is; the runs that are to be started here."""
        room = self._room()
        here: list[str] = []

        def hand_over(connection: sa.Connection, chosen: Sequence[tuple[str, str]]) -> None:
            num_here = max(0, room - len(here))
            here.extend(run_id for run_id, _ in chosen[:num_here])
            self.durable.enqueue_runs(connection, chosen[num_here:])

        while self.places.give(hand_over):
            pass
        return here
