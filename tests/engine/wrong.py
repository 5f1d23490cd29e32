"""Engines that are wrong in one thing each."""

import asyncio
from collections.abc import AsyncGenerator

from gateway.engine.protocol import EngineStatus
from gateway.errors import GatewayError, Overloaded
from gateway.job import Event, Failed, Finished, Job, Pixels, Preview, StepDone
from tests.engine.conformance import MOST_PLACES
from tests.engine.small import TORN, Drawing, SmallEngine


class EndsTwice(SmallEngine):
    def advance(self, drawing: Drawing) -> None:
        super().advance(drawing)
        if drawing not in self.inside and len(drawing.job.seeds) > 1:
            drawing.fail("generation_failed", "Once more.")


class NeverEndsOne(SmallEngine):
    def advance(self, drawing: Drawing) -> None:
        if drawing.number < 2 or drawing.num_steps_left:
            super().advance(drawing)


class RepeatsSteps(SmallEngine):
    def advance(self, drawing: Drawing) -> None:
        super().advance(drawing)
        drawing.tell(StepDone(drawing.number, drawing.num_steps_done, 4))


class ForgetsSteps(SmallEngine):
    def advance(self, drawing: Drawing) -> None:
        drawing.num_steps_done = max(drawing.num_steps_done, 1)
        super().advance(drawing)


class MixesPictures(SmallEngine):
    def picture(self, drawing: Drawing) -> Pixels:
        beside = next((one for one in self.inside if one.job is not drawing.job), drawing)
        return super().picture(beside)


class DrawsOneSeed(SmallEngine):
    def picture(self, drawing: Drawing) -> Pixels:
        return Pixels(32, 32, 3, bytes(3 * 32 * 32))


class PreviewsBackwards(SmallEngine):
    def advance(self, drawing: Drawing) -> None:
        super().advance(drawing)
        if 0 < drawing.num_steps_done <= drawing.job.num_previews:
            drawing.tell(Preview(drawing.number, 0, Pixels(1, 1, 3, bytes(3))))


class TornPreviews(SmallEngine):
    def advance(self, drawing: Drawing) -> None:
        num_previews = drawing.job.num_previews
        super().advance(drawing)
        if num_previews and drawing in self.inside:
            drawing.tell(Preview(drawing.number, num_previews, Pixels(9, 9, 3, b"")))


class FailsAll(SmallEngine):
    def advance(self, drawing: Drawing) -> None:
        if TORN in drawing.job.prompt:
            for one in self.inside:
                one.fail("generation_failed", "All of them.")
            self.inside.clear()
        else:
            super().advance(drawing)


class Succeeds(SmallEngine):
    def advance(self, drawing: Drawing) -> None:
        if TORN in drawing.job.prompt and not drawing.num_steps_left:
            drawing.tell(Finished(drawing.number, self.picture(drawing), "Small"))
            self.inside.remove(drawing)
        else:
            super().advance(drawing)


class HasOwnCodes(SmallEngine):
    def advance(self, drawing: Drawing) -> None:
        if TORN in drawing.job.prompt:
            raise GatewayError("It cannot be drawn.", code="oops")
        super().advance(drawing)


class ServesAnything(SmallEngine):
    def check_is_served(self, endpoint: str) -> None:
        pass


class HasNoDoor(SmallEngine):
    def check_door(self, job: Job) -> None:
        pass


class RefusesLate(SmallEngine):
    """By the first event rather than by `submit`."""

    def submit(self, job: Job) -> AsyncGenerator[Event]:
        try:
            return super().submit(job)
        except Overloaded as error:
            return _raising(error)


class BeginsWhatItRefuses(SmallEngine):
    def check_door(self, job: Job) -> None:
        try:
            super().check_door(job)
        except Overloaded:
            self.inside.append(Drawing(job, 0, 0, asyncio.Queue()))
            raise


class SaysNotWhen(SmallEngine):
    def check_door(self, job: Job) -> None:
        try:
            super().check_door(job)
        except Overloaded:
            raise Overloaded("The door is full.") from None


class HasOneDoor(SmallEngine):
    def check_door(self, job: Job) -> None:
        if len(self.inside) + len(job.seeds) > self.places:
            raise Overloaded("The door is full.", retry_after_seconds=1)


class FirstComeFirstServed(SmallEngine):
    def due(self) -> list[Drawing]:
        return sorted(self.inside, key=lambda one: one.arrival)[: self.max_batch]


class IgnoresWhoLeaves(SmallEngine):
    def end_unwanted(self, drawing: Drawing) -> None:
        drawing.is_cancelled = False
        super().end_unwanted(drawing)


class NoticesTooLate(SmallEngine):
    """Whoever leaves is drawn to the end, and then told of."""

    def end_unwanted(self, drawing: Drawing) -> None:
        if not drawing.is_cancelled or not drawing.num_steps_left:
            super().end_unwanted(drawing)


class IsAGenerator(SmallEngine):
    """What was never begun cleans up nothing."""

    def submit(self, job: Job) -> AsyncGenerator[Event]:
        events = super().submit(job)
        self.__dict__.setdefault("kept", []).append(events)
        return _relayed(events)


class GoesOnAfterTheEnd(SmallEngine):
    def submit(self, job: Job) -> AsyncGenerator[Event]:
        return _endless(super().submit(job))


class IgnoresDeadlines(SmallEngine):
    def end_unwanted(self, drawing: Drawing) -> None:
        if drawing.is_cancelled:
            super().end_unwanted(drawing)


class HurriesBeforeDeadlines(SmallEngine):
    def picture(self, drawing: Drawing) -> Pixels:
        picture = super().picture(drawing)
        if drawing.job.deadline:
            return Pixels(picture.width, picture.height, 3, bytes(len(picture.data)))
        return picture


class WaitsForReaders(SmallEngine):
    """Nothing is drawn while somebody does not take what he was told."""

    def due(self) -> list[Drawing]:
        slow = next((one for one in self.inside if one.events.qsize() > 2), None)
        return [] if slow else super().due()


class CountsNothing(SmallEngine):
    def status(self) -> EngineStatus:
        return EngineStatus(ready=True, num_running=0, num_waiting=0)


class SaysNoSeconds(SmallEngine):
    def status(self) -> EngineStatus:
        told = super().status()
        return EngineStatus(
            ready=told.ready, fault=told.fault, num_running=told.num_running,
            num_waiting=told.num_waiting, loaded=told.loaded,
        )  # fmt: skip


class LoadsNothing(SmallEngine):
    async def load_adapter(self, endpoint: str, route: str) -> None:
        self.check_is_open()
        self.check_is_served(endpoint)


class LoadsAnything(SmallEngine):
    async def load_adapter(self, endpoint: str, route: str) -> None:
        self.adapters.add((endpoint, route))


class LetsNothingGo(SmallEngine):
    def notice(self) -> None:
        pass


class TakesAnyScheduler(SmallEngine):
    def runs_scheduler(self, *_: object) -> bool:
        return True


class IsReadyAtOnce(SmallEngine):
    def status(self) -> EngineStatus:
        told = super().status()
        return EngineStatus(
            ready=not self.is_stopped, fault=told.fault, num_running=told.num_running,
            num_waiting=told.num_waiting, loaded=told.loaded,
        )  # fmt: skip


class ForgetsWhoCameEarly(SmallEngine):
    async def start(self) -> None:
        self.inside.clear()
        await super().start()


class StartsTwice(SmallEngine):
    async def start(self) -> None:
        if self._turning:
            raise RuntimeError("it runs")
        await super().start()


class StartsAgain(SmallEngine):
    async def start(self) -> None:
        self.is_stopped = False
        await super().start()


class StopsOnlyWhatStarted(SmallEngine):
    async def stop(self, grace_seconds: float) -> None:
        if self._turning:
            await super().stop(grace_seconds)


class StopsNoStart(SmallEngine):
    """Who stops while it starts is taken for stopped, and those who wait for forgotten."""

    async def start(self) -> None:
        await asyncio.sleep(0.01)
        await super().start()

    async def stop(self, grace_seconds: float) -> None:
        self.is_stopped = True
        if self._turning:
            await super().stop(grace_seconds)


class StopsOnce(SmallEngine):
    async def stop(self, grace_seconds: float) -> None:
        if self.is_stopped and self.places == MOST_PLACES:
            self.places = 0  # once is enough for the test
            raise RuntimeError("it has stopped")
        await super().stop(grace_seconds)


class StopsInAHurry(SmallEngine):
    async def stop(self, grace_seconds: float) -> None:
        await super().stop(0)


class RefusesWhenStopped(SmallEngine):
    """Not from when it begins to stop."""

    async def stop(self, grace_seconds: float) -> None:
        while self.inside and grace_seconds:
            await asyncio.sleep(0)
        await super().stop(0)


class StopsInSilence(SmallEngine):
    async def stop(self, grace_seconds: float) -> None:
        self.inside.clear()
        await super().stop(grace_seconds)


class LoadsForEver(SmallEngine):
    def check_is_open(self) -> None:
        if self._turning is None or not self.is_stopped:
            super().check_is_open()

    async def load_adapter(self, endpoint: str, route: str) -> None:
        while self._turning is None or self.is_stopped:
            await asyncio.sleep(0.001)
        await super().load_adapter(endpoint, route)


async def _raising(error: Exception) -> AsyncGenerator[Event]:
    raise error
    yield


async def _relayed(events: AsyncGenerator[Event]) -> AsyncGenerator[Event]:
    try:
        async for event in events:
            yield event
    finally:
        await events.aclose()


async def _endless(events: AsyncGenerator[Event]) -> AsyncGenerator[Event]:
    async for event in events:
        yield event
    yield Failed(0, "generation_failed", "One more thing.")
