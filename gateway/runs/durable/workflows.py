"""Runs, batches and webhook deliveries as dbos workflows: what was accepted is finished.

dbos keeps workflows in the same database as the runs, so that both are written in one
transaction. A run that can begin at once is started without a queue, which saves its poll;
batches and runs beyond this process's share wait in a queue, those that a limit binds in
`places.py` before either.

Workflows here are one step each: what is done is looked up in the gateway's own tables, so
that a workflow begun anew goes on where it was. `mending.py` begins those that go nowhere.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import sqlalchemy as sa
import structlog
from dbos import DBOS, SetWorkflowID

from gateway.runs.batches.records import Batch
from gateway.runs.durable.queues import BATCHES, RUNS, WEBHOOKS, Entry, Queues
from gateway.runs.durable.workers import Workers
from gateway.runs.hooks.events import Event

log = structlog.get_logger()

APP_NAME = "image-gateway"
APP_VERSION = "1"
"""Never another: dbos leaves what one version queued to that version alone.

Fronts of two releases share the work while they are upgraded, one after another, and back. A
workflow below that comes to mean something else gets a name and a queue that are new, which older
fronts do not look into.
"""

BATCHES_AT_ONCE = 32
BATCHES_OF_A_KEY = 4
"""As many at once, so that those of others are worked on beside them."""

POLL_SECONDS = 0.25
"""A queue's pace while there is something to do; it costs 1.5 % of a core."""

ORDER_POLL_SECONDS = 0.5
START_SECONDS = 5.0
"""How long who asks for a run waits for it to be begun; dbos waits for its database for ever."""

STOP_SECONDS = 0.2
"""How long the thread that listens for notifications, which nobody sends here, holds up a stop."""

MAX_RECOVERIES = 1000
GOING_ON = ("ENQUEUED", "PENDING", "DELAYED")


class Work(Protocol):
    """What the workflows do, once they have been made durable."""

    async def perform(self, run_id: str) -> None:
        """Draw a run; a second time after a crash."""
        ...

    async def work_through(self, batch_id: str) -> None:
        """Answer the lines of a batch; after a crash, those that are left."""
        ...

    async def is_next(self, event_id: str) -> bool:
        """Whether every earlier event of the same subject is delivered or given up."""
        ...

    async def deliver(self, event_id: str, *, waited: bool) -> float | None:
        """Deliver an event if its time has come; seconds until it may be, None for no more."""
        ...


class _Bound:
    """dbos knows workflows by name for the whole process; this is whose they are now."""

    durable: "Durable | None" = None

    @classmethod
    async def do(cls, subject: str, act: Callable[[Work], Coroutine[Any, Any, None]]) -> None:
        if cls.durable is None:
            raise asyncio.CancelledError  # begun while dbos is shut down: for the next start
        await cls.durable.do(subject, act)


@DBOS.workflow(name="gateway.run", max_recovery_attempts=MAX_RECOVERIES)
async def _run(run_id: str) -> None:
    await _Bound.do(run_id, lambda work: work.perform(run_id))


@DBOS.workflow(name="gateway.batch", max_recovery_attempts=MAX_RECOVERIES)
async def _batch(batch_id: str) -> None:
    await _Bound.do(batch_id, lambda work: work.work_through(batch_id))


@DBOS.workflow(name="gateway.deliver", max_recovery_attempts=MAX_RECOVERIES)
async def _deliver(event_id: str) -> None:
    await _Bound.do(event_id, lambda work: _delivered(work, event_id))


async def _delivered(work: Work, event_id: str) -> None:
    """Deliver one event.

    The queue lets one event of a run at a time begin, in their order. One that a crash
    interrupted comes back outside the queue, so the next in line looks for itself.
    """
    while not await work.is_next(event_id):
        await asyncio.sleep(ORDER_POLL_SECONDS)
    seconds = await work.deliver(event_id, waited=False)
    while seconds is not None:
        await asyncio.sleep(seconds)
        seconds = await work.deliver(event_id, waited=True)


class Durable:
    """dbos, launched for one process on one database."""

    def __init__(self, engine: sa.Engine, max_running: int) -> None:
        self.engine = engine
        self.executor = ""
        self.max_running = max_running
        self.doing: dict[str, asyncio.Task[None]] = {}
        self._work: Work | None = None
        self._queues: Queues | None = None
        self._workers: Workers | None = None
        schema = "dbos" if engine.dialect.name == "postgresql" else None
        names = ("workflow_uuid", "status", "executor_id", "queue_name", "queue_partition_key")
        columns = [sa.column(name, sa.Text) for name in names]
        self._workflows = sa.table("workflow_status", *columns, schema=schema)
        id_column = sa.column("workflow_uuid", sa.Text)
        self._inputs = sa.table("workflow_input", id_column, schema=schema)

    async def launch(self, work: Work, executor: str) -> None:
        """Start the queues and take up what a predecessor of this executor left."""
        self.executor, self._work, _Bound.durable = executor, work, self
        dbos = DBOS(
            config={
                "name": APP_NAME,
                "system_database_engine": self.engine,
                "executor_id": executor,
                "application_version": APP_VERSION,
                "log_level": "ERROR",
                "enable_otlp": False,
                "use_listen_notify": False,
                "notification_listener_polling_interval_sec": STOP_SECONDS,
            }
        )
        logging.getLogger("dbos").setLevel(logging.ERROR)
        DBOS.launch()
        self._queues = await asyncio.to_thread(Queues, self.engine)
        await asyncio.to_thread(self._name_keys)
        queues = [
            await DBOS.register_queue_async(
                name, **limits, polling_interval_sec=POLL_SECONDS, on_conflict="always_update"
            )
            for name, limits in self._limits().items()
        ]
        self._workers = Workers(dbos, queues, self.engine)

    def _limits(self) -> dict[str, dict[str, Any]]:
        """How many workflows of each queue there may be at once: here, and of one key."""
        return {
            # One key may have them all; what becomes free goes to any of those that wait.
            RUNS: {
                "worker_concurrency": self.max_running,
                "partition_worker_concurrency": self.max_running,
            },
            WEBHOOKS: {"partition_concurrency": 1},
            BATCHES: {
                "worker_concurrency": BATCHES_AT_ONCE,
                "partition_worker_concurrency": BATCHES_OF_A_KEY,
            },
        }

    def look(self) -> None:
        """Have the queues looked into now: something has been put in, or a place is free."""
        if self._workers is not None:
            self._workers.bell.ring()

    async def do(self, subject: str, act: Callable[[Work], Coroutine[Any, Any, None]]) -> None:
        """Do something once, however many workflows ask for it at a time.

        What a stop puts down has not ended, and its workflow does not: it is cancelled too.
        """
        assert self._work is not None
        task = self.doing.get(subject)
        if task is None:
            task = self.doing[subject] = asyncio.create_task(act(self._work))
            task.add_done_callback(lambda _: self.doing.pop(subject, None))
        await asyncio.wait({task})
        self.look()
        task.result()

    def enqueue_runs(self, connection: sa.Connection, new: Iterable[tuple[str, str]]) -> None:
        """Queue runs, by id and owner, in the transaction that writes or gives them a place."""
        entries = [Entry(run_id, _key_of(owner)) for run_id, owner in new]
        self._queued().put(connection, RUNS, entries)

    def enqueue_deliveries(self, connection: sa.Connection, events: Iterable[Event]) -> None:
        """Queue events' deliveries in the transaction that writes them."""
        entries = [
            Entry(event.id, event.subject, event.sequence)
            if event.sequence
            else Entry(event.id, event.id)
            for event in events
        ]
        self._queued().put(connection, WEBHOOKS, entries)

    def enqueue_batch(self, connection: sa.Connection, batch: Batch) -> None:
        """Queue a batch in the transaction that writes it."""
        self._queued().put(connection, BATCHES, [Entry(batch.id, _key_of(batch.owner))])

    def _queued(self) -> Queues:
        assert self._queues is not None
        return self._queues

    def _name_keys(self) -> None:
        """What was queued when queues knew no keys is one key's."""
        table = self._workflows
        divided = table.c.queue_name.in_((RUNS, BATCHES))
        unnamed = divided & table.c.queue_partition_key.is_(None)
        with self.engine.begin() as connection:
            named = sa.update(table).where(unnamed, table.c.status.in_(GOING_ON))
            connection.execute(named.values(queue_partition_key=_key_of("")))

    async def start_run(self, run_id: str) -> None:
        """Begin a run at once; one that cannot be begun now is found by its mender."""
        try:
            async with asyncio.timeout(START_SECONDS):
                with SetWorkflowID(run_id):
                    await DBOS.start_workflow_async(_run, run_id)
        except Exception as error:
            log.warning("a run could not be begun at once", run_id=run_id, fault=str(error))

    def is_going_on(self, workflow_id: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
        """The condition that a workflow goes on, for a query of the caller's own."""
        table = self._workflows.c
        return sa.exists().where(table.workflow_uuid == workflow_id, table.status.in_(GOING_ON))

    def pending(self) -> dict[str, list[str]]:
        """The workflows in progress by the names of their executors; blocks."""
        table = self._workflows.c
        query = sa.select(table.executor_id, table.workflow_uuid).where(table.status == "PENDING")
        found: dict[str, list[str]] = {}
        with self.engine.connect() as connection:
            for name, workflow_id in connection.execute(query):
                found.setdefault(name, []).append(workflow_id)
        return found

    def clear(self, connection: sa.Connection, workflow_id: str) -> bool:
        """Forget a workflow in order to begin it anew; False where it goes on."""
        table = self._workflows
        same = table.c.workflow_uuid == workflow_id
        ended = sa.delete(table).where(same, table.c.status.not_in(GOING_ON))
        connection.execute(ended)
        if connection.execute(sa.select(table.c.status).where(same)).first() is not None:
            return False
        inputs = self._inputs
        connection.execute(sa.delete(inputs).where(inputs.c.workflow_uuid == workflow_id))
        return True

    async def resume(self, workflow_ids: Iterable[str]) -> None:
        """Have somebody go on with workflows that nobody goes on with."""
        await DBOS.resume_workflows_async(list(workflow_ids))
        self.look()

    async def forget(self, workflow_ids: Iterable[str]) -> None:
        """Delete workflows that have ended, with their steps."""
        await DBOS.delete_workflows_async(list(workflow_ids))

    async def shut_down(self) -> None:
        """Stop, putting down what is being done; it stays for the next start."""
        _Bound.durable = None
        doing = list(self.doing.values())
        for task in doing:
            task.cancel()
        await asyncio.gather(*doing, return_exceptions=True)
        if self._workers is not None:
            await self._workers.stop()
            self._workers = None
        await asyncio.to_thread(DBOS.destroy)
        # dbos had made its own threads the loop's, and has just ended them.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor())


def _key_of(owner: str) -> str:
    """What dbos divides a queue by; it takes no empty name."""
    return f"key {owner}"
