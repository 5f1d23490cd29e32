"""The replicas, one at each place: begun, listened to, replaced when they are lost, put down."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import get_args

import msgspec
import structlog

from gateway.catalog.catalog import Catalog
from gateway.cluster.devices import Place
from gateway.cluster.lines import say
from gateway.cluster.link import Ground, ReplicaLostError
from gateway.cluster.member import Member
from gateway.cluster.replica import Beat
from gateway.cluster.routing import Standing
from gateway.errors import GenerationFailed, NotFound
from gateway.telemetry import metrics
from gateway.telemetry.gathered import GATHERED

KILLER = "A second replica ended while it drew this, which is not tried again."

log = structlog.get_logger()


class Patience(msgspec.Struct, frozen=True):
    """Seconds: between beats, and of silence after which a replica is taken to hang.

    A beat may also take `times_longest` what the longest so far did. A replica has `made_seconds`
    to begin; one that is lost is followed by another after `pause_seconds`, twice as many each
    time that it does not last, up to `most_pause_seconds`.
    """

    beat_seconds: float = 1.0
    silent_seconds: float = 15.0
    times_longest: int = 20
    made_seconds: float = 900.0
    pause_seconds: float = 1.0
    most_pause_seconds: float = 60.0
    last_words_seconds: float = 10.0


class Post:
    """A place and whoever is there; `is_closed` while nobody is to follow."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.member: Member | None = None
        self.is_closed = False
        self.num_members = 0
        self.opened = asyncio.Event()


class Crew:
    """Keeps a replica at each place; `catalog` tells what they serve.

    `joined` is told of each that may be given work from now on.
    """

    def __init__(
        self, ground: Ground, catalog: Callable[[], Catalog], patience: Patience = Patience()
    ) -> None:
        self.fault: str | None = None
        self.joined: Callable[[Member], None] = _nothing
        self._ground = ground
        self._catalog = catalog
        self._patience = patience
        self._posts: dict[str, Post] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._changed = asyncio.Event()
        self._restarting = asyncio.Lock()

    @property
    def posts(self) -> list[Post]:
        """Every place."""
        return list(self._posts.values())

    @property
    def members(self) -> list[Member]:
        """Every replica that there is."""
        return [post.member for post in self._posts.values() if post.member]

    @property
    def ready(self) -> list[Member]:
        """Those that may be given work."""
        return [member for member in self.members if member.standing == "ready"]

    def start(self, places: Sequence[Place]) -> None:
        """Begin a replica at each place; at those that were there before, the next."""
        before = self._posts
        self._posts = {place.name: before.get(place.name) or Post(place) for place in places}
        for place in places:
            post = self._posts[place.name]
            post.place = place
            metrics.REPLICAS_LOST.labels(place.name)  # from zero on, that the first is a rise
            self._tasks.append(asyncio.create_task(self._staff(post)))
        for standing in get_args(Standing):
            metrics.REPLICAS.labels(standing).set_function(partial(self._num_standing, standing))

    async def stop(self) -> None:
        """Put every replica down."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    async def abandon(self, why: str) -> None:
        """Every replica is lost with the ground; what they drew waits for those that follow."""
        self.fault = why
        drawing = [leg.drawing for member in self.members for leg in member.legs]
        for member in self.members:
            self.lose(member, why)
        await self.stop()
        await asyncio.gather(*drawing, return_exceptions=True)

    async def change(self) -> None:
        """Wait until a replica stands otherwise than before."""
        await self._changed.wait()

    def lose(self, member: Member, why: str) -> None:
        """Give a replica up: what it drew goes elsewhere, and another takes its place.

        A job that it drew, and another before that ended too, is to blame if no other is, nor the
        ground.
        """
        if member.standing == "dead":
            return
        log.error("a replica is lost", replica=member.name, why=why)
        is_by_itself = self._ground.fault() is None
        accused = [journey for journey in member.journeys if journey.num_deaths and is_by_itself]
        for journey in member.journeys:
            journey.num_deaths += is_by_itself
            metrics.REDRAWN.inc(len(journey.open))
        metrics.REPLICAS_LOST.labels(member.place.name).inc()
        if len(accused) == 1:
            accused[0].fail(GenerationFailed(KILLER))
        self._stand(member, "dead")
        member.gone.set()
        member.leave()

    def let_go(self, member: Member) -> None:
        """A replica ends by itself: what it drew goes elsewhere, and nobody is to blame."""
        if member.standing == "ready":
            self._stand(member, "draining")
        member.gone.set()

    async def drain(self, name: str, grace_seconds: float) -> None:
        """Give a replica no more work, let it finish or move what it has, and end it.

        Nobody follows it until it is restarted.
        """
        post = self._post(name)
        post.is_closed = True
        await self._dismiss(post, grace_seconds)

    async def restart(self, grace_seconds: float, name: str | None = None) -> None:
        """Begin every replica anew, or one, each when the one before is ready again.

        Raises:
            GenerationFailed: one did not come back; those after it were left as they are.
        """
        async with self._restarting:
            for post in [self._post(name)] if name else list(self._posts.values()):
                before = post.num_members
                post.is_closed = False
                post.opened.set()
                await self._dismiss(post, grace_seconds)
                try:
                    async with asyncio.timeout(self._patience.made_seconds):
                        while not self._is_back(post, before):
                            await self.change()
                except TimeoutError:
                    raise GenerationFailed(f"{post.place.name} did not come back.") from None

    def _is_back(self, post: Post, before: int) -> bool:
        member = post.member
        return member is not None and member.standing == "ready" and post.num_members > before

    def _post(self, name: str) -> Post:
        if name not in self._posts:
            raise NotFound(f"There is no replica `{name}`: {', '.join(self._posts)}.")
        return self._posts[name]

    async def _dismiss(self, post: Post, grace_seconds: float) -> None:
        member = post.member
        if member is None:
            return
        if member.standing in ("ready", "starting"):
            self._stand(member, "draining")
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_seconds):
                while drawing := {leg.drawing for leg in member.legs}:
                    await asyncio.wait(drawing)
                    await asyncio.sleep(0)  # whoever carried them lets go of them
        member.gone.set()
        member.leave()
        while post.member is member:
            await self.change()

    async def _staff(self, post: Post) -> None:
        """Have a replica at a place, and another one after it."""
        pause = self._patience.pause_seconds
        while True:
            if post.is_closed:
                post.opened.clear()
                await post.opened.wait()
            while self._ground.fault():  # until all are told to leave it
                await asyncio.sleep(self._patience.beat_seconds)
            began = time.monotonic()
            was_lost = await self._employ(post)
            if time.monotonic() - began > self._patience.most_pause_seconds:
                pause = self._patience.pause_seconds
            if was_lost:
                await asyncio.sleep(pause)
                pause = min(2 * pause, self._patience.most_pause_seconds)

    async def _employ(self, post: Post) -> bool:
        """Have one replica, from its beginning to its end; whether it was lost."""
        post.num_members += 1
        name, catalog = f"{post.place.name}/{post.num_members}", self._catalog()
        member = Member(name, post.place, self._ground.hire(name, post.place, catalog), catalog)
        post.member = member
        self.ring()
        try:
            await self._attend(member)
        except ReplicaLostError as error:
            self.fault = f"{post.place.name}: {error}"
            self.lose(member, str(error))
        finally:
            was_lost = member.standing == "dead"
            if not was_lost:
                with suppress(ReplicaLostError, TimeoutError):
                    async with asyncio.timeout(self._patience.last_words_seconds):
                        await member.link.stop(0)
            member.link.kill()
            GATHERED.forget(name)
            post.member = None
            self.ring()
        return was_lost

    async def _attend(self, member: Member) -> None:
        """Wait for a replica to begin, then listen to it until it goes.

        Raises:
            ReplicaLostError: it does not answer, or says that its device does not.
        """
        try:
            async with asyncio.timeout(self._patience.made_seconds):
                await member.link.made()
        except TimeoutError:
            raise ReplicaLostError("it did not begin in time") from None
        starting = asyncio.create_task(self._begin(member))
        try:
            await self._listen(member)
        finally:
            starting.cancel()
            with suppress(asyncio.CancelledError, ReplicaLostError):
                await starting

    async def _begin(self, member: Member) -> None:
        with suppress(ReplicaLostError):  # whoever listens hears of it
            member.fault = await member.link.start()
            member.beat = await member.link.beat()
            if member.standing == "starting":
                self._stand(member, "ready")

    async def _listen(self, member: Member) -> None:
        longest = silent = 0.0
        asking = asyncio.create_task(member.link.beat())
        going = asyncio.create_task(member.gone.wait())
        try:
            while not going.done():
                began = time.monotonic()
                await asyncio.wait(
                    {asking, going}, timeout=self._patience.beat_seconds,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                # Who was stopped itself, as a whole machine may be, heard nobody meanwhile.
                passed = min(time.monotonic() - began, 2 * self._patience.beat_seconds)
                if asking.done():
                    self._hear(member, asking)
                    longest, silent = max(longest, silent + passed), 0.0
                    await asyncio.wait({going}, timeout=self._patience.beat_seconds)
                    asking = asyncio.create_task(member.link.beat())
                    continue
                silent += passed
                member.is_silent = True
                most = max(self._patience.silent_seconds, self._patience.times_longest * longest)
                if silent > most:
                    raise ReplicaLostError(f"it hangs: no word for {silent:.0f} s")
        finally:
            for task in (asking, going):
                task.cancel()
            await asyncio.gather(asking, going, return_exceptions=True)

    def _hear(self, member: Member, asked: "asyncio.Task[Beat]") -> None:
        beat = asked.result()
        member.beat, member.is_silent = beat, False
        GATHERED.note(member.name, beat.counted)
        say(beat.lines, member.name)
        fault = beat.status.fault
        if fault and fault != member.fault and member.standing == "ready":
            raise ReplicaLostError(fault)

    def _stand(self, member: Member, standing: Standing) -> None:
        member.standing = standing
        if standing == "ready":
            self.fault = None
            log.info("a replica is ready", replica=member.name)
            self.joined(member)
        self.ring()

    def ring(self) -> None:
        """Wake whoever waits for a change."""
        self._changed.set()
        self._changed.clear()

    def _num_standing(self, standing: Standing) -> int:
        return sum(member.standing == standing for member in self.members)


def _nothing(_: Member) -> None:
    """What is done with a replica that nobody waits for."""
