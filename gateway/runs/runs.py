"""Runs from the outside: accepted, watched, waited for, cancelled, and forgotten in time."""

import asyncio
import random
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import Literal

import structlog

from gateway.accounts.keys import KeyStore
from gateway.outside.guard import Guard
from gateway.outside.outbound import Outbound
from gateway.runs.batches.batches import Batches
from gateway.runs.batches.store import BatchStore
from gateway.runs.batches.working import Ask, BatchWork
from gateway.runs.database import Slot, close_database, is_dead, open_database, take_slot
from gateway.runs.durable import Durable
from gateway.runs.files import FileStore
from gateway.runs.keeping import Keeper
from gateway.runs.library import Library
from gateway.runs.live import Notice
from gateway.runs.ordering import Ordering
from gateway.runs.perform import Equipment, Performer
from gateway.runs.places import Places
from gateway.runs.quota import Quota
from gateway.runs.records import Attempt, Order, Run, RunOutput
from gateway.runs.sources import Sources
from gateway.runs.store import Change, NewRun, RunStore
from gateway.runs.uploads import Uploads
from gateway.runs.ushering import Usher
from gateway.runs.webhooks import Deliveries, secret_of, wait_seconds

log = structlog.get_logger()

DATABASE_THREADS = 8
LOOK_SECONDS = 1.0
"""How often a watcher looks into the database, should another process draw the run."""

SWEEP_SECONDS = 60
SWEEP_RUNS = 200


class Runs:
    """The one object that the web layer knows of runs."""

    def __init__(self, equipment: Equipment, keys: KeyStore, ask: Ask) -> None:
        settings = equipment.settings
        self.settings = settings
        self.catalog = equipment.catalog
        self.engine = open_database(settings)
        self.slot: Slot = take_slot(self.engine, settings.data)
        self.threads = ThreadPoolExecutor(DATABASE_THREADS, thread_name_prefix="runs-database")
        self.durable = Durable(self.engine, self.slot.name, settings.max_batch)
        self.store = RunStore(self.engine, self.durable.enqueue_delivery)
        self.library = Library(self.engine, self.threads)
        self.files = FileStore(settings, equipment.objects)
        outbound = Outbound(Guard(settings.url_allow))
        self.keeper = Keeper(self.files)
        self.quota = Quota(self.engine, self.threads, int(settings.kept_gib * 2**30))
        self.uploads = Uploads(self.files, self.library, self.quota)
        self.ordering = Ordering(
            settings, self.catalog, self.library, self.uploads, equipment.darkroom
        )
        self.sources = Sources(
            self.files,
            self.library,
            outbound,
            equipment.darkroom,
            fetches=settings.fetch_urls,
        )
        samples_of = partial(_samples_of, keys)
        self.performer = Performer(
            equipment, self.store, self.keeper, self.sources, self.threads, samples_of
        )
        self.places = Places(self.engine, samples_of)
        self.usher = Usher(self.places, self.durable, self._room, self.threads)
        secret = partial(secret_of, keys=keys, data=settings.data)
        self.deliveries = Deliveries(self.store, self.files, outbound, secret)
        batches = BatchStore(self.engine, settings.max_batch_lines)
        work = BatchWork(batches, self.files, self.quota, self.threads, ask)
        self.batches = Batches(batches, work, self.files, self.durable.enqueue_batch)
        self._tasks: list[asyncio.Task[None]] = []

    @classmethod
    @asynccontextmanager
    async def opened(cls, equipment: Equipment, keys: KeyStore, ask: Ask) -> AsyncIterator["Runs"]:
        """Runs for as long as the block lasts; `ask` answers the lines of batches."""
        runs = cls(equipment, keys, ask)
        await runs.start()
        try:
            yield runs
        finally:
            await runs.stop()

    async def start(self) -> None:
        """Take up what was left unfinished, and begin to accept."""
        await self.durable.launch(self)
        await self._reconcile(time.time())
        self._tasks = [
            asyncio.create_task(self._sweep()),
            asyncio.create_task(self.usher.stay()),
        ]

    async def _reconcile(self, before: float) -> None:
        """Start the older runs that no workflow goes on with: a crash came between the two."""
        waiting = await self.performer.in_thread(self.places.waiting)
        found = await self.performer.in_thread(self.store.unfinished, before)
        unfinished = [run_id for run_id in found if run_id not in waiting]
        standing = await self.durable.standing(unfinished)
        for run_id in unfinished:
            if not standing.get(run_id):
                await self.durable.start_run(run_id, again=run_id in standing)

    async def stop(self) -> None:
        """Let go of everything; unfinished runs stay written down."""
        for task in self._tasks:
            task.cancel()
        await self.performer.in_thread(self.durable.shut_down)
        # dbos had made its own threads the loop's, and has just ended them.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor())
        self.keeper.close()
        await asyncio.to_thread(self.threads.shutdown, cancel_futures=True)
        await asyncio.to_thread(close_database, self.engine)
        self.slot.release()

    async def check(self) -> None:
        """See that the database answers; what it raises otherwise is its own."""
        await self.performer.in_thread(self.store.check)

    async def accept(self, orders: Sequence[Order], owner: str) -> list[NewRun]:
        """Write runs down, all of them or none, and see to it that they are drawn."""
        batch_id = str(uuid.uuid4()) if len(orders) > 1 else None
        begins = await self._begins(orders[0], owner, batch_id)
        new = [NewRun(str(uuid.uuid4()), owner, order, batch_id, begins) for order in orders]
        await self.performer.in_thread(
            self.store.accept, new, self.durable.enqueue_run, self.settings.max_open_runs
        )
        if begins == "now":
            await self.durable.start_run(new[0].id)
        elif begins == "turn":
            await self.usher.give_places()
        return new

    async def _begins(
        self, order: Order, owner: str, batch_id: str | None
    ) -> Literal["now", "queue", "turn"]:
        """What the runs of a request wait for; all of them draw the same."""
        if await self.performer.in_thread(self.places.must_wait, owner, order):
            return "turn"
        return "now" if batch_id is None and self._room() > 0 else "queue"

    def _room(self) -> int:
        """How many more runs this process would draw at once."""
        return self.settings.max_batch - len(self.performer.tasks)

    async def get(self, run_id: str, owner: str) -> Run | None:
        """A run as it stands this moment."""
        run = await self.performer.in_thread(self.store.get, run_id, owner)
        return self.performer.live.fresh(run) if run else None

    async def outputs(self, *run_ids: str) -> list[RunOutput]:
        """What runs have made."""
        return await self.performer.in_thread(self.store.outputs_of, run_ids)

    async def batch(self, batch_id: str, owner: str) -> list[Run]:
        """The runs of a batch, in order."""
        found = await self.performer.in_thread(self.store.batch, batch_id, owner)
        return [self.performer.live.fresh(run) for run in found]

    async def of_workflow(self, workflow_id: str, owner: str) -> list[Run]:
        """The runs of a workflow that ended well, newest first."""
        return await self.performer.in_thread(self.store.of_workflow, workflow_id, owner)

    async def num_ahead(self, run: Run) -> int:
        """How many runs wait before this one."""
        return await self.performer.in_thread(self.store.num_ahead, run)

    async def attempts(self, run_id: str) -> list[Attempt]:
        """Every try to deliver a run's webhooks."""
        return await self.performer.in_thread(self.store.attempts, run_id)

    async def webhook_states(self, run_id: str) -> list[str]:
        """Where the webhook events of a run stand."""
        return await self.performer.in_thread(self.store.webhook_states, run_id)

    async def cancel(self, run_id: str) -> bool:
        """End a run as cancelled; False where it had ended."""
        change = Change(status="cancelled", live_status="Cancelled")
        if not await self.performer.in_thread(self.store.change, run_id, change):
            return False
        self.performer.stop(run_id)
        self.usher.wake()
        self.performer.live.tell(run_id, "status", "cancelled")
        return True

    async def watch(self, run_id: str, owner: str) -> AsyncIterator[Notice | None]:
        """What happens to a run until it has ended; None now and then while nothing does."""
        with self.performer.live.watch(run_id) as queue:
            run = await self.get(run_id, owner)
            while run is not None and not run.has_ended:
                try:
                    async with asyncio.timeout(LOOK_SECONDS):
                        notice = await queue.get()
                except TimeoutError:
                    run = await self.get(run_id, owner)
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
        run = await self.get(run_id, owner)
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
        event = await self.performer.in_thread(self.store.event, event_id)
        return event is None or await self.performer.in_thread(self.store.is_next, event)

    async def deliver(self, event_id: str, attempt: int) -> float | None:
        """Try to deliver an event, for the durable workflow."""
        event = await self.performer.in_thread(self.store.event, event_id)
        if event is None:
            return None
        run = await self.performer.in_thread(self.store.get, event.run_id)
        if run is None:
            return None
        tried = await self.deliveries.attempt(event, run, attempt)
        return None if tried.is_final else wait_seconds(attempt)

    async def _sweep(self) -> None:
        """Now and every minute; whatever is wrong with one time, there is a next."""
        while True:
            try:
                await self._sweep_all()
            except Exception as error:
                log.error("sweeping runs failed", exc_info=error)
            await asyncio.sleep(SWEEP_SECONDS * random.uniform(0.9, 1.1))

    async def _sweep_all(self) -> None:
        """Forget what is old, take over what dead processes left."""
        before = time.time() - self.settings.run_days * 86400
        for sweep in (self.sweep, self.uploads.sweep, self.batches.sweep):
            while await sweep(before):
                pass
        if left := await self.durable.adopt(partial(is_dead, self.engine, self.settings.data)):
            log.warning("took over from a process that died", workflows=left)
        await self._reconcile(time.time() - SWEEP_SECONDS)

    async def sweep(self, before: float) -> int:
        """Forget some runs that ended before a time, with their pictures; how many."""
        old = await self.performer.in_thread(self.store.ended_before, before, SWEEP_RUNS)
        if not old:
            return 0
        for run_id in old:
            await self.files.delete(f"runs/{run_id}/")
        events = await self.performer.in_thread(self.store.event_ids, old)
        await self.durable.forget([*old, *events])
        await self.performer.in_thread(self.store.delete, old)
        log.info("runs forgotten", count=len(old))
        return len(old)


def _samples_of(keys: KeyStore, owner: str) -> int | None:
    """How many samples a key may draw at once, as it stands now; None for any number."""
    key = keys.get(owner)
    return key.concurrent_samples if key else None
