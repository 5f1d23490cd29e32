"""Carries jobs to replicas: to whichever is done first, and on from one that is lost or leaves."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing

import msgspec
import structlog

from gateway.catalog.catalog import Catalog
from gateway.catalog.sources.parts import bytes_on_disk
from gateway.cluster.crew import Crew
from gateway.cluster.journey import Journey
from gateway.cluster.link import ReplicaLostError
from gateway.cluster.member import Leg, Member
from gateway.cluster.routing import Task, choose, expected_pace, moves, task_of
from gateway.cluster.wire import Holding, packed_job, unpacked
from gateway.errors import DeadlineExceeded, GenerationFailed, ShuttingDown
from gateway.job import Failed, Job

UNTOLD = "The replica did not say what became of it."

Going = tuple[Member, Leg]

log = structlog.get_logger()


class Dispatch:
    """Has journeys drawn by a crew, which serves a catalogue."""

    def __init__(self, crew: Crew, catalog: Callable[[], Catalog]) -> None:
        self._crew = crew
        self._catalog = catalog
        self._sizes: dict[str, tuple[Catalog, int]] = {}
        crew.joined = self._share_with

    async def travel(self, journey: Journey) -> None:
        """Have every sample of a job drawn, until its deadline."""
        try:
            async with asyncio.timeout(journey.seconds_left):
                await self._draw(journey, tuple(journey.open))
        except TimeoutError:
            journey.fail(DeadlineExceeded("The request's deadline passed."))
        except Exception as error:
            log.error("a job was not carried", job=journey.job.id, exc_info=error)
            journey.fail(GenerationFailed("The request could not be given to a replica."))

    async def _draw(self, journey: Journey, numbers: Sequence[int]) -> None:
        """Have some samples of a job drawn, wherever, as often as it takes."""
        while not (parts := self._parts(journey, numbers)):
            await self._crew.change()
        async with asyncio.TaskGroup() as group:
            for member, leg in [self._leg(journey, *part) for part in parts.items()]:
                group.create_task(self._follow(member, leg))

    def _share_with(self, new: Member) -> None:
        """Let what waits at others, and would be done sooner at a new replica, go there."""
        waits = [
            (member, leg)
            for member in self._crew.ready
            for leg in member.legs
            if member is not new and not leg.has_begun and new.may_take(leg.journey)
        ]
        waits.sort(key=lambda one: one[1].arrival)
        for member, leg in waits:
            member.legs.discard(leg)
        replicas = [member.seen() for member in self._crew.ready]
        tasks = [
            (member.place.name, msgspec.structs.replace(leg.needs, num_steps=leg.num_steps_left))
            for member, leg in waits
        ]
        moving = set(moves(tasks, replicas, new.place.name))
        for number, (member, leg) in enumerate(waits):
            if number in moving:
                leg.drawing.cancel()  # whoever carries it chooses again
            else:
                member.legs.add(leg)

    def _leg(self, journey: Journey, member: Member, part: tuple[list[int], Task]) -> Going:
        """Give a replica its part; it counts as given at once, for whoever chooses next."""
        numbers, needs = part
        drawing = asyncio.create_task(self._draw_at(journey, numbers, member))
        leg = Leg(journey, tuple(numbers), needs, drawing)
        member.legs.add(leg)
        return member, leg

    async def _follow(self, member: Member, leg: Leg) -> None:
        """Wait for a replica's part; what it leaves is drawn by others."""
        try:
            await asyncio.wait({leg.drawing})
        finally:
            leg.drawing.cancel()
            await asyncio.gather(leg.drawing, return_exceptions=True)
            member.legs.discard(leg)
            self._crew.ring()
        if not leg.drawing.cancelled() and (error := leg.drawing.exception()) is not None:
            raise error
        if left := leg.journey.left(leg.numbers):
            await self._draw(leg.journey, left)

    async def _draw_at(self, journey: Journey, numbers: Sequence[int], member: Member) -> None:
        journey.begin_again(numbers)
        try:
            await member.show(self._catalog())
            async with aclosing(member.link.draw(packed_job(journey.job, numbers))) as events:
                async for told in events:
                    event = unpacked(told, numbers)
                    if isinstance(event, Holding):
                        member.holds(event.loaded)
                        continue
                    if isinstance(event, Failed) and event.code == ShuttingDown.code:
                        self._crew.let_go(member)
                        return
                    journey.take(event)
            for number in journey.left(numbers):
                journey.take(Failed(number, str(GenerationFailed.code), UNTOLD))
        except ReplicaLostError as error:
            self._crew.lose(member, str(error))

    def _parts(
        self, journey: Journey, numbers: Sequence[int]
    ) -> dict[Member, tuple[list[int], Task]]:
        """Which replica draws which samples; nothing while none may draw them.

        Samples go one by one to whoever is done first, so that one job keeps several busy.
        """
        members = {member.place.name: member for member in self._crew.ready}
        statuses = [member.status for member in members.values()]
        replicas = {name: member.seen() for name, member in members.items()}
        avoided = {name for name, member in members.items() if not member.may_take(journey)}
        job = msgspec.structs.replace(journey.job, seeds=journey.job.seeds[:1])
        one = task_of(job, self._beside(job), self._sizes_for(job), statuses)
        parts: dict[Member, tuple[list[int], Task]] = {}
        for number in numbers:
            chosen = choose(one, list(replicas.values()), avoided)
            if chosen is None:
                return {}
            replicas[chosen.id] = chosen.given(one, expected_pace(one, replicas.values()))
            mine, _ = parts.setdefault(members[chosen.id], ([], one))
            mine.append(number)
        return parts

    def _beside(self, job: Job) -> list[str]:
        """The ids of what a job is drawn with beside its endpoint."""
        return [id for id, _ in self._catalog().beside(job)]

    def _sizes_for(self, job: Job) -> dict[str, int]:
        """Bytes of a job's endpoint, as its files have them here."""
        catalog, id = self._catalog(), job.endpoint
        known, size = self._sizes.get(id, (None, 0))
        if known is not catalog and id in catalog.endpoints:
            size = bytes_on_disk(catalog.endpoints[id])
            self._sizes[id] = (catalog, size)
        return {id: size}
