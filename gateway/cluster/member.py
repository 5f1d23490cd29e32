"""One replica as the front knows it: how it stands, what it was given, what it told last."""

import asyncio
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from gateway.catalog.catalog import Catalog
from gateway.cluster.devices import Place
from gateway.cluster.journey import Journey, OpenSample
from gateway.cluster.link import Link
from gateway.cluster.replica import Beat
from gateway.cluster.routing import UNKNOWN_STEP_SECONDS, Replica, Standing, Task, seen
from gateway.engine.protocol import EngineStatus, LoadedEndpoint

NOTHING = EngineStatus(ready=False, num_running=0, num_waiting=0)


class Leg(NamedTuple):
    """Samples of a journey that a replica draws, by a task which ends when they have or it has."""

    journey: Journey
    numbers: tuple[int, ...]
    needs: Task
    drawing: "asyncio.Task[None]"

    @property
    def arrival(self) -> int:
        """When the first of its samples came, before or after others'."""
        return min((one.arrival for one in self._open), default=0)

    @property
    def has_begun(self) -> bool:
        """Whether a step of any of its samples was told of, or all have ended."""
        return not self._open or any(one.has_begun for one in self._open)

    @property
    def num_steps_left(self) -> int:
        """Denoising steps to go, of all its samples."""
        return sum(one.num_steps_left for one in self._open)

    @property
    def _open(self) -> list[OpenSample]:
        return [self.journey.open[number] for number in self.journey.left(self.numbers)]


class Member:
    """A replica at a place, under a name that no other ever had."""

    def __init__(self, name: str, place: Place, link: Link, catalog: Catalog) -> None:
        self.name = name
        self.place = place
        self.link = link
        self.standing: Standing = "starting"
        self.beat: Beat | None = None
        self.fault: str | None = None
        self.is_silent = False
        self.legs: set[Leg] = set()
        self.gone = asyncio.Event()
        self._shown = catalog
        self._showing = asyncio.Lock()

    @property
    def status(self) -> EngineStatus:
        """What its engine last said of itself."""
        return self.beat.status if self.beat else NOTHING

    @property
    def journeys(self) -> set[Journey]:
        """Those of which it draws something."""
        return {leg.journey for leg in self.legs}

    def seen(self) -> Replica:
        """It as the router sees it: what it holds, as told last, and the work that it has now."""
        replica = msgspec.structs.replace(
            seen(self.place.name, self.status, self.standing),
            queued_seconds=self.seconds_of(self.legs),
            batch_seconds=self.seconds_of(
                leg for leg in self.legs if leg.needs.priority == "batch"
            ),
        )
        for leg in self.legs:
            if replica.lacks(leg.needs.parts):
                replica = replica.given(msgspec.structs.replace(leg.needs, num_steps=0))
        return replica

    def seconds_of(self, legs: Iterable[Leg]) -> float:
        """Device time that some of its work still takes, by its latest pace."""
        paces = self.status.sample_step_seconds
        return sum(
            leg.num_steps_left * (paces.get(leg.journey.job.endpoint) or UNKNOWN_STEP_SECONDS)
            for leg in legs
        )

    def holds(self, loaded: tuple[LoadedEndpoint, ...]) -> None:
        """Take what it has in memory now."""
        if self.beat:
            status = msgspec.structs.replace(self.beat.status, loaded=loaded)
            self.beat = msgspec.structs.replace(self.beat, status=status)

    def may_take(self, journey: Journey) -> bool:
        """Whether a job may come here, so far as replicas have ended while they drew it.

        Of two that are suspected, one is innocent; by itself it is known which.
        """
        others = max((one.num_deaths for one in self.journeys - {journey}), default=0)
        if journey.num_deaths >= 2:
            return not others
        return not journey.num_deaths or others < 2

    async def show(self, catalog: Catalog) -> None:
        """Have it know what is served, if that has changed since it was told."""
        async with self._showing:
            if self._shown is not catalog:
                await self.link.serve(catalog)
                self._shown = catalog

    def leave(self) -> None:
        """Let go of all that it draws; whoever carries it finds another replica."""
        for leg in tuple(self.legs):
            leg.drawing.cancel()

