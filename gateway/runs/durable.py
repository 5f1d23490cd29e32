"""Runs, batches and webhook deliveries as dbos workflows: what was accepted is finished.

dbos keeps workflows in the same database as the runs, so that both are written in one
transaction. A run that can begin at once is started without a queue, which saves its poll;
batches and runs beyond this process's share wait in a queue, those that a limit binds in
`places.py` before either.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Protocol
from uuid import uuid4

import sqlalchemy as sa
from dbos import DBOS, DBOSClient, SetWorkflowID

from gateway.runs.batches.records import Batch
from gateway.runs.records import WebhookEvent

APP_NAME = "image-gateway"
APP_VERSION = "1"
"""Of the workflows below, not of the package: one that changes their steps raises it."""

RUNS_QUEUE = "gateway-runs"
WEBHOOKS_QUEUE = "gateway-webhooks"
BATCHES_QUEUE = "gateway-batches"
BATCHES_AT_ONCE = 32
POLL_SECONDS = 0.25
"""An idle process spends 1.5 % of a core on polling a queue this often."""

ORDER_POLL_SECONDS = 0.5
STOP_SECONDS = 0.2
"""How long the thread that listens for notifications, which nobody sends here, holds up a stop."""

MAX_RECOVERIES = 1000
LOOKED_UP_AT_ONCE = 100
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
        """Whether every earlier event of the same run is delivered or given up."""
        ...

    async def deliver(self, event_id: str, attempt: int) -> float | None:
        """Try to deliver an event; seconds to wait before the next try, None for no more."""
        ...


class _Bound:
    """dbos knows workflows by name for the whole process; this is whose they are now."""

    work: Work | None = None

    @classmethod
    def current(cls) -> Work:
        assert cls.work is not None, "dbos ran a workflow before launch or after shutdown"
        return cls.work


@DBOS.workflow(name="gateway.run", max_recovery_attempts=MAX_RECOVERIES)
async def _run(run_id: str) -> None:
    await _Bound.current().perform(run_id)


@DBOS.workflow(name="gateway.batch", max_recovery_attempts=MAX_RECOVERIES)
async def _batch(batch_id: str) -> None:
    await _Bound.current().work_through(batch_id)


@DBOS.step(name="gateway.attempt")
async def _attempt(event_id: str, attempt: int) -> float | None:
    return await _Bound.current().deliver(event_id, attempt)


@DBOS.workflow(name="gateway.deliver", max_recovery_attempts=MAX_RECOVERIES)
async def _deliver(event_id: str) -> None:
    """Deliver one event.

    The queue lets one event of a run at a time begin, in their order. One that a crash
    interrupted comes back outside the queue, so the next in line looks for itself.
    """
    while not await _Bound.current().is_next(event_id):
        await asyncio.sleep(ORDER_POLL_SECONDS)
    attempt = 1
    while (seconds := await _attempt(event_id, attempt)) is not None:
        await DBOS.sleep_async(seconds)
        attempt += 1


class Durable:
    """dbos, launched for one process on one database."""

    def __init__(self, engine: sa.Engine, executor: str, max_running: int) -> None:
        self.engine = engine
        self.executor = executor
        self.max_running = max_running
        self._client: DBOSClient | None = None

    async def launch(self, work: Work) -> None:
        """Start the queues and take up what a predecessor of this executor left."""
        _Bound.work = work
        DBOS(
            config={
                "name": APP_NAME,
                "system_database_engine": self.engine,
                "executor_id": self.executor,
                "application_version": APP_VERSION,
                "log_level": "ERROR",
                "enable_otlp": False,
                "use_listen_notify": False,
                "notification_listener_polling_interval_sec": STOP_SECONDS,
            }
        )
        logging.getLogger("dbos").setLevel(logging.ERROR)
        DBOS.launch()
        self._client = DBOSClient(system_database_engine=self.engine)
        await DBOS.register_queue_async(
            RUNS_QUEUE,
            worker_concurrency=self.max_running,
            polling_interval_sec=POLL_SECONDS,
            on_conflict="always_update",
        )
        await DBOS.register_queue_async(
            WEBHOOKS_QUEUE,
            partition_concurrency=1,
            polling_interval_sec=POLL_SECONDS,
            on_conflict="always_update",
        )
        await DBOS.register_queue_async(
            BATCHES_QUEUE,
            worker_concurrency=BATCHES_AT_ONCE,
            polling_interval_sec=POLL_SECONDS,
            on_conflict="always_update",
        )

    def enqueue_run(self, connection: sa.Connection, run_id: str) -> None:
        """Queue a run in the transaction that writes it, or that gives it its place."""
        assert self._client is not None
        self._client.enqueue_in_transaction(
            connection,
            {"workflow_name": "gateway.run", "queue_name": RUNS_QUEUE, "workflow_id": run_id},
            run_id,
        )

    def enqueue_delivery(self, connection: sa.Connection, event: WebhookEvent) -> None:
        """Queue an event's delivery in the transaction that writes it."""
        assert self._client is not None
        self._client.enqueue_in_transaction(
            connection,
            {
                "workflow_name": "gateway.deliver",
                "queue_name": WEBHOOKS_QUEUE,
                "workflow_id": event.id,
                "queue_partition_key": event.run_id,
                "priority": event.sequence,
            },
            event.id,
        )

    def enqueue_batch(self, connection: sa.Connection, batch: Batch) -> None:
        """Queue a batch in the transaction that writes it."""
        assert self._client is not None
        self._client.enqueue_in_transaction(
            connection,
            {
                "workflow_name": "gateway.batch",
                "queue_name": BATCHES_QUEUE,
                "workflow_id": batch.id,
            },
            batch.id,
        )

    async def start_run(self, run_id: str, *, again: bool = False) -> None:
        """Begin a run at once; `again` where its workflow has ended without it."""
        with SetWorkflowID(f"{run_id}:{uuid4()}" if again else run_id):
            await DBOS.start_workflow_async(_run, run_id)

    async def standing(self, run_ids: list[str]) -> dict[str, bool]:
        """Of these runs those that have workflows, and whether one is still going on."""
        found: dict[str, bool] = {}
        for start in range(0, len(run_ids), LOOKED_UP_AT_ONCE):
            known = await DBOS.list_workflows_async(
                workflow_id_prefix=run_ids[start : start + LOOKED_UP_AT_ONCE],
                load_input=False,
                load_output=False,
            )
            for workflow in known:
                run_id = workflow.workflow_id.partition(":")[0]
                found[run_id] = found.get(run_id, False) or workflow.status in GOING_ON
        return found

    async def adopt(self, is_dead: Callable[[str], bool]) -> int:
        """Take over what executors that died have left, and nobody restarts; how many."""
        pending = await DBOS.list_workflows_async(
            status="PENDING", load_input=False, load_output=False
        )
        others = {workflow.executor_id or "" for workflow in pending} - {self.executor}
        dead = {name for name in others if await asyncio.to_thread(is_dead, name)}
        left = [workflow.workflow_id for workflow in pending if workflow.executor_id in dead]
        if left:
            await DBOS.resume_workflows_async(left)
        return len(left)

    async def forget(self, workflow_ids: Iterable[str]) -> None:
        """Delete workflows that have ended, with their steps."""
        await DBOS.delete_workflows_async(list(workflow_ids))

    def shut_down(self) -> None:
        """Stop; what is unfinished stays for the next start."""
        DBOS.destroy()
        _Bound.work = None
