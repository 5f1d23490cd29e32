"""Runs from the outside: accepted, watched, waited for, cancelled, and forgotten in time."""

import asyncio
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Literal

import msgspec
import sqlalchemy as sa
import structlog

from gateway.accounts.keys import Keys
from gateway.catalog.catalog import Catalog
from gateway.errors import Conflict
from gateway.images.signing import Signer
from gateway.images.store import PictureStore
from gateway.outages import again, patiently
from gateway.outside.guard import Guard
from gateway.outside.outbound import Outbound
from gateway.runs.batches.batches import Batches
from gateway.runs.batches.store import BatchStore
from gateway.runs.batches.working import Ask, BatchWork
from gateway.runs.census import CENSUS_SECONDS, Census
from gateway.runs.drawing.keeping import Keeper
from gateway.runs.drawing.perform import Equipment, Performer
from gateway.runs.durable.database import close_database, open_database
from gateway.runs.durable.ground import Ground
from gateway.runs.durable.slots import Slot, Slots
from gateway.runs.durable.workflows import Durable
from gateway.runs.history import History
from gateway.runs.hooks.events import Events, event_ids
from gateway.runs.hooks.hooks import Hooks
from gateway.runs.hooks.records import EVENT_PREFIX, BatchEvent
from gateway.runs.hooks.store import HookStore
from gateway.runs.hooks.webhooks import Deliveries, Letter, secrets_of
from gateway.runs.library.files import FileStore
from gateway.runs.library.library import Library
from gateway.runs.library.quota import Quota
from gateway.runs.library.signed import SignedUrls
from gateway.runs.library.sources import Sources
from gateway.runs.library.uploads import Uploads
from gateway.runs.live import Notice
from gateway.runs.mending import Mender
from gateway.runs.ordering import Ordering
from gateway.runs.places import Places
from gateway.runs.records import Attempt, Order, Run, RunOutput, WebhookEvent
from gateway.runs.store import Change, NewRun, RunStore
from gateway.runs.telling import webhook_body
from gateway.runs.ushering import Usher
from gateway.telemetry import traces

log = structlog.get_logger()

WATCH_SECONDS = 1.0
"""How often a watcher looks into the database, should another process draw the run."""

LOOK_SECONDS = 3.0
"""How often what is said to be done is compared with what is done."""

SLOT_SECONDS = 1.0
SWEEP_SECONDS = 60
SWEEP_RUNS = 200
SWEEPS_AT_ONCE = 10
"""Of each kind in a minute, so that a mistake takes long enough to be noticed."""


class Runs:
    """The one object that the web layer knows of runs."""

    def __init__(self, equipment: Equipment, keys: Keys, ask: Ask) -> None:
        settings = equipment.settings
        self.settings = settings
        self.collection = equipment.collection
        self.engine = open_database(settings)
        self.slots = Slots(self.engine, settings.data)
        self.slot: Slot = self.slots.take()
        self.ground = Ground(self.engine)
        self.calendar = self.ground.calendar
        self.threads = self.ground.threads
        self.durable = Durable(self.engine, settings.max_batch)
        self.mender = Mender(self.durable, self.ground.claims, self.slots)
        self.store = RunStore(self.engine, self.durable.enqueue_deliveries)
        self.history = History(self.engine)
        self.library = Library(self.engine, self.threads)
        signer = equipment.signer or Signer.of_folder(settings.data)
        self.files = FileStore(settings, equipment.objects, signer)
        outbound = Outbound(Guard(settings.url_allow))
        self.keeper = Keeper(self.files)
        most_bytes = int(settings.kept_gib * 2**30)
        self.quota = Quota(self.engine, self.threads, most_bytes, self.calendar.now)
        self.uploads = Uploads(self.files, self.library, self.quota)
        self.ordering = Ordering(
            settings, self.collection, self.library, self.uploads, equipment.darkroom
        )
        self.signed = SignedUrls(PictureStore(settings, equipment.objects, signer), self.files)
        self.sources = Sources(
            self.signed,
            self.files,
            self.library,
            outbound,
            equipment.darkroom,
            fetches=settings.fetch_urls,
        )
        samples_of = partial(_samples_of, keys)
        self.performer = Performer(
            equipment, self.store, self.keeper, self.sources, self.ground, samples_of
        )
        self.places = Places(self.engine, samples_of)
        self.usher = Usher(self.places, self.durable, self._room, self.threads)
        self._secrets_of = partial(secrets_of, keys=keys, signer=signer)
        self.events = Events(self.engine, WebhookEvent)
        self.deliveries = Deliveries(self.events, outbound, self.ground, self._letter)
        hooks = HookStore(self.engine, self.durable.enqueue_deliveries)
        self.hooks = Hooks(hooks, Events(self.engine, BatchEvent), outbound, self.ground)
        batches = BatchStore(self.engine, settings.max_batch_lines, hooks.tell)
        work = BatchWork(batches, self.files, self.quota, self.ground, ask)
        self.batches = Batches(
            batches, work, self.files, self.durable.enqueue_batch, self.durable.forget
        )
        self._tasks: list[asyncio.Task[None]] = []

    @classmethod
    @asynccontextmanager
    async def opened(cls, equipment: Equipment, keys: Keys, ask: Ask) -> AsyncIterator["Runs"]:
        """Runs for as long as the block lasts; `ask` answers the lines of batches."""
        runs = cls(equipment, keys, ask)
        await runs.start()
        try:
            yield runs
        finally:
            await runs.stop()

    @property
    def catalog(self) -> Catalog:
        """What can be asked for now."""
        return self.collection.now()

    async def start(self) -> None:
        """Take up what was left unfinished, and begin to accept."""
        await self.durable.launch(self, self.slot.name)
        await self.ground.ask(partial(self.mender.begin_anew, at_once=True))
        self._tasks = [
            asyncio.create_task(again(SWEEP_SECONDS, self._sweep)),
            asyncio.create_task(again(LOOK_SECONDS, self._mend)),
            asyncio.create_task(again(SLOT_SECONDS, self._keep_slot)),
            asyncio.create_task(again(CENSUS_SECONDS, Census(self.ground).take)),
            asyncio.create_task(self.usher.stay()),
        ]

    async def stop(self) -> None:
        """Let go of everything; unfinished runs stay written down."""
        for task in self._tasks:
            task.cancel()
        await self.durable.shut_down()
        await self._put_down()
        self.keeper.close()
        await asyncio.to_thread(self.threads.shutdown, cancel_futures=True)
        await asyncio.to_thread(close_database, self.engine)
        self.slot.release()

    async def check(self) -> None:
        """See that the database answers; what it raises otherwise is its own."""
        await self.ground.ask(self.store.check)

    async def _put_down(self) -> None:
        """Give back what was being done, so that it counts as no crash of this process."""
        try:
            await self.ground.ask(self.ground.claims.release_all)
            await self.ground.ask(self.calendar.keep)
        except sa.exc.SQLAlchemyError as error:
            log.warning("unfinished work could not be given back", fault=str(error))

    async def _keep_slot(self) -> None:
        """Hold the slot, or begin anew under another name where another process has it."""
        if await self.ground.ask(self.slot.keep):
            return
        log.error("another process goes by this one's name now", slot=self.slot.name)
        self.slot.release()
        await self.durable.shut_down()
        await self._put_down()
        await patiently(self._settle, "database")

    async def _settle(self) -> None:
        await self.durable.shut_down()
        self.slot = await self.ground.ask(self.slots.take)
        await self.durable.launch(self, self.slot.name)

    async def _mend(self) -> None:
        """Begin what goes nowhere, stop what is done elsewhere."""
        for run_id in await self.ground.ask(self.mender.lost, dict(self.performer.held)):
            self.performer.stop(run_id)
        await self.ground.ask(self.mender.begin_anew)
        await self.mender.resume(await self.ground.ask(self.mender.abandoned))

    async def accept(
        self, orders: Sequence[Order], owner: str, run_id: str | None = None
    ) -> list[NewRun]:
        """Write runs down, all of them or none, and see to it that they are drawn.

        A client may name a single one itself, by an id that nobody had before.

        Raises:
            Conflict: somebody had.
            RateLimited: their owner would have too many that have not ended.
        """
        batch_id = str(uuid.uuid4()) if len(orders) > 1 else None
        begins = await self._begins(orders[0], owner, batch_id)
        ids = [run_id or str(uuid.uuid4()), *(str(uuid.uuid4()) for _ in orders[1:])]
        trace = traces.current()
        new = [
            NewRun(id, owner, msgspec.structs.replace(order, trace=trace), batch_id, begins)
            for id, order in zip(ids, orders, strict=True)
        ]
        try:
            await self.ground.ask(
                self.store.accept, new, self.durable.enqueue_runs, self.settings.max_open_runs
            )
        except sa.exc.IntegrityError as error:
            raise Conflict(f"There is a run {run_id} already.") from error
        self.performer.live.accepted(new)
        if begins == "now":
            await self.durable.start_run(new[0].id)
        elif begins == "turn":
            self.usher.wake()
        else:
            self.durable.look()
        return new

    async def _begins(
        self, order: Order, owner: str, batch_id: str | None
    ) -> Literal["now", "queue", "turn"]:
        """What the runs of a request wait for; all of them draw the same."""
        if await self.ground.ask(self.places.must_wait, owner, order):
            return "turn"
        return "now" if batch_id is None and self._room() > 0 else "queue"

    def _room(self) -> int:
        """How many more runs this process would draw at once."""
        return self.settings.max_batch - len(self.performer.tasks)

    async def get(self, run_id: str, owner: str) -> Run | None:
        """A run as it stands this moment."""
        return self._fresh(await self.ground.ask(self.store.get, run_id, owner))

    async def _found(self, run_id: str, owner: str) -> Run | None:
        """The same, for who waits: for as long as it takes the database to come back."""
        return self._fresh(await self.ground.patiently(self.store.get, run_id, owner))

    def _fresh(self, run: Run | None) -> Run | None:
        return self.performer.live.fresh(run) if run else None

    async def outputs(self, *run_ids: str) -> list[RunOutput]:
        """What runs have made."""
        return await self.ground.ask(self.store.outputs_of, run_ids)

    async def batch(self, batch_id: str, owner: str) -> list[Run]:
        """The runs of a batch, in order."""
        found = await self.ground.ask(self.store.batch, batch_id, owner)
        return [self.performer.live.fresh(run) for run in found]

    async def latest(self, owner: str, limit: int) -> list[Run]:
        """The runs of an owner, newest first."""
        found = await self.ground.ask(self.history.latest, owner, limit)
        return [self.performer.live.fresh(run) for run in found]

    async def of_workflow(self, workflow_id: str, owner: str) -> list[Run]:
        """The runs of a workflow that ended well, newest first."""
        return await self.ground.ask(self.store.of_workflow, workflow_id, owner)

    async def num_ahead(self, run: Run) -> int:
        """How many runs wait before this one."""
        return await self.ground.ask(self.store.num_ahead, run)

    async def attempts(self, run_id: str) -> list[Attempt]:
        """Every try to deliver a run's webhooks."""
        return await self.ground.ask(self.events.attempts, run_id)

    async def webhook_states(self, run_id: str) -> list[str]:
        """Where the webhook events of a run stand."""
        return await self.ground.ask(self.events.states, run_id)

    async def cancel(self, run_id: str) -> bool:
        """End a run as cancelled; False where it had ended."""
        change = Change(status="cancelled", live_status="Cancelled")
        if not await self.ground.ask(self.store.change, run_id, change):
            return False
        self.performer.stop(run_id)
        self.usher.wake()
        self.performer.live.tell(run_id, "status", "cancelled")
        return True

    async def watch(self, run_id: str, owner: str) -> AsyncGenerator[Notice | None]:
        """What happens to a run until it has ended; None now and then while nothing does."""
        with self.performer.live.watch(run_id) as queue:
            run = await self._found(run_id, owner)
            while run is not None and not run.has_ended:
                try:
                    async with asyncio.timeout(WATCH_SECONDS):
                        notice = await queue.get()
                except TimeoutError:
                    run = await self._found(run_id, owner)
                    yield None
                    continue
                yield notice
                if notice.event == "status":
                    return
            while not queue.empty():
                yield queue.get_nowait()

    async def wait(self, run_id: str, owner: str) -> Run:
        """The run, once it has ended."""
        async for _ in self.watch(run_id, owner):
            pass
        run = await self._found(run_id, owner)
        assert run is not None
        return run

    async def perform(self, run_id: str) -> None:
        """Draw a run, for the durable workflow."""
        try:
            await self.performer.perform(run_id)
        finally:
            self.usher.wake()

    async def work_through(self, batch_id: str) -> None:
        """Work through a batch, for the durable workflow."""
        await self.batches.work.work_through(batch_id)

    async def is_next(self, event_id: str) -> bool:
        """Whether an event's turn has come, for the durable workflow."""
        return await self._mail(event_id).is_next(event_id)

    async def deliver(self, event_id: str, *, waited: bool) -> float | None:
        """Deliver an event if its time has come, for the durable workflow."""
        return await self._mail(event_id).deliver(event_id, waited=waited)

    def _mail(self, event_id: str) -> Deliveries[Any]:
        """Who delivers an event: those of runs and those of batches are told by their ids."""
        is_of_batch = event_id.startswith(EVENT_PREFIX)
        return self.hooks.deliveries if is_of_batch else self.deliveries

    async def _letter(self, event: WebhookEvent) -> Letter | None:
        """An event of a run as its webhook is sent it."""
        run = await self.ground.patiently(self.store.get, event.run_id)
        if run is None or run.order.webhook is None:
            return None
        body = msgspec.json.encode(webhook_body(event, run.order.base_url, self.files))
        secrets = self._secrets_of(run.owner)
        return Letter(run.order.webhook, run.owner, secrets, body, run.order.trace)

    async def _sweep(self) -> None:
        """Forget what is old, by the calendar: a clock that jumps must not delete anything."""
        await self.ground.ask(self.calendar.keep)
        before = self.calendar.now() - self.settings.run_days * 86400
        for sweep in (self.sweep, self.uploads.sweep, self.batches.sweep):
            for _ in range(SWEEPS_AT_ONCE):
                if not await sweep(before):
                    break

    async def sweep(self, before: float) -> int:
        """Forget some runs that ended before a time, with their pictures; how many."""
        old = await self.ground.ask(self.store.ended_before, before, SWEEP_RUNS)
        await self.forget(old)
        return len(old)

    async def forget(self, old: Sequence[str]) -> None:
        """Forget runs that have ended, with their pictures."""
        if not old:
            return
        for run_id in old:
            await self.files.delete(f"runs/{run_id}/")
        events = await self.ground.ask(event_ids, self.engine, old)
        await self.durable.forget([*old, *events])
        await self.ground.ask(self.store.delete, old)
        log.info("runs forgotten", count=len(old))


def _samples_of(keys: Keys, owner: str) -> int | None:
    """How many samples a key may draw at once, as it stands now; None for any number."""
    key = keys.get(owner)
    return key.concurrent_samples if key else None
