"""Runs in the database: every change of a run, with its webhook events, in one transaction."""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, TypeVar
from urllib.parse import parse_qs, urlsplit

import msgspec
import sqlalchemy as sa

from gateway.remarks import Remark
from gateway.runs.durable.claims import Claim, Claims, drop, holds
from gateway.runs.durable.schema import outputs, places, runs
from gateway.runs.hooks.events import forget_events, write_events
from gateway.runs.places import HandOver, check_room, place_row
from gateway.runs.records import (
    ENDED,
    Order,
    Run,
    RunOutput,
    Status,
    WebhookEvent,
    message_id,
)
from gateway.telemetry.metrics import RUNS_ENDED, from_zero

T = TypeVar("T")
Announce = Callable[[sa.Connection, Sequence[WebhookEvent]], None]
"""Hand events to their delivery, inside the transaction that made them."""

from_zero(RUNS_ENDED, ENDED)


class NewRun(msgspec.Struct, frozen=True):
    """A run about to be accepted, which begins `now`, from the `queue` or at its `turn`."""

    id: str
    owner: str
    order: Order
    batch_id: str | None = None
    begins: Literal["now", "queue", "turn"] = "now"


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of a run; None leaves a value as it is."""

    status: Status | None = None
    live_status: str | None = None
    progress: float | None = None
    error: str | None = None
    notes: tuple[Remark, ...] | None = None
    outputs: tuple[RunOutput, ...] = ()


class RunStore:
    """Queries on runs. Every call blocks: the event loop calls them in a thread."""

    def __init__(self, engine: sa.Engine, announce: Announce) -> None:
        self.engine = engine
        self._announce = announce

    def accept(
        self,
        new: Sequence[NewRun],
        enqueue: HandOver,
        max_open: float = math.inf,
    ) -> None:
        """Write runs as queued; `enqueue` joins the same transaction for those of the queue.

        However many they are, the statements are as few.

        Raises:
            RateLimited: their owner would have more than `max_open` that have not ended.
        """
        now = time.time()
        with self.engine.begin() as connection:
            check_room(connection, new[0].owner, len(new), max_open)
            connection.execute(sa.insert(runs), [_row(run, now) for run in new])
            connection.execute(
                sa.insert(places),
                [
                    place_row(run.id, run.owner, run.order, waits=run.begins == "turn")
                    for run in new
                ],
            )
            enqueue(connection, [(run.id, run.owner) for run in new if run.begins == "queue"])
            self._write(connection, [_first_event(run) for run in new if run.order.webhook])

    def check(self) -> None:
        """Read anything."""
        with self.engine.connect() as connection:
            connection.execute(sa.select(runs.c.id).limit(1)).first()

    def get(self, run_id: str, owner: str | None = None) -> Run | None:
        """A run, if this owner may see it; None for any owner's."""
        query = sa.select(runs).where(runs.c.id == run_id)
        if owner is not None:
            query = query.where(runs.c.owner == owner)
        with self.engine.connect() as connection:
            row = connection.execute(query).mappings().first()
        return run_of(row) if row else None

    def batch(self, batch_id: str, owner: str) -> list[Run]:
        """The runs of a batch, in order."""
        return self._list(runs.c.batch_id == batch_id, runs.c.owner == owner)

    def of_workflow(self, workflow_id: str, owner: str) -> list[Run]:
        """The runs of a workflow that ended well, newest first."""
        named = f'"workflow_id":{_text(workflow_id)}'
        found = self._list(
            runs.c.owner == owner,
            runs.c.status == "success",
            runs.c.order.contains(named, autoescape=True),
        )
        return [run for run in reversed(found) if run.order.workflow_id == workflow_id]

    def num_ahead(self, run: Run) -> int:
        """How many runs wait before this one."""
        query = sa.select(sa.func.count()).where(
            runs.c.status == "queued", runs.c.number < run.number
        )
        with self.engine.connect() as connection:
            return int(connection.execute(query).scalar_one())

    def outputs_of(self, run_ids: Iterable[str]) -> list[RunOutput]:
        """The outputs of runs, in the order of their nodes."""
        query = sa.select(outputs.c.body).where(outputs.c.run_id.in_(list(run_ids)))
        with self.engine.connect() as connection:
            bodies = connection.execute(query.order_by(outputs.c.created_at, outputs.c.position))
            return [msgspec.json.decode(body, type=RunOutput) for (body,) in bodies]

    def begin(self, run_id: str, claims: Claims) -> Claim | None:
        """Claim a run and write it as started, unless its claim says it must not be drawn.

        Returns None where it has ended.
        """
        started = Change(status="started", live_status="Preparing")
        with self.engine.begin() as connection:
            claim = claims.take_in(connection, run_id)
            if claim.is_poison or self._changed(connection, run_id, started, sa.true()):
                return claim
            drop(connection, [run_id])
            return None

    def change(self, run_id: str, change: Change, claim: Claim | None = None) -> bool:
        """Change a run that has not ended; False where it has, or where a claim is lost."""
        with self.engine.begin() as connection:
            condition = holds(claim) if claim else sa.true()
            is_changed = self._changed(connection, run_id, change, condition)
        if is_changed and change.status in ENDED:
            RUNS_ENDED.labels(change.status).inc()
        return is_changed

    def _changed(
        self,
        connection: sa.Connection,
        run_id: str,
        change: Change,
        condition: sa.ColumnElement[bool],
    ) -> bool:
        query = sa.update(runs).where(runs.c.id == run_id, runs.c.status.not_in(ENDED), condition)
        query = query.values(_values(change))
        row = connection.execute(query.returning(runs.c.webhook, runs.c.webhook_steps)).first()
        if row is None:
            return False
        if change.status in ENDED:
            connection.execute(sa.delete(places).where(places.c.run_id == run_id))
            drop(connection, [run_id])
        for position, output in enumerate(change.outputs):
            connection.execute(sa.insert(outputs).values(_output_row(output, position)))
        if row.webhook:
            self._tell_change(connection, run_id, row, change)
        return True

    def delete(self, run_ids: Sequence[str]) -> None:
        """Forget runs and everything about them."""
        with self.engine.begin() as connection:
            connection.execute(sa.delete(outputs).where(outputs.c.run_id.in_(run_ids)))
            forget_events(connection, run_ids)
            drop(connection, run_ids)
            connection.execute(sa.delete(runs).where(runs.c.id.in_(run_ids)))

    def ended_before(self, when: float, limit: int) -> list[str]:
        """The oldest runs that ended before a time."""
        query = sa.select(runs.c.id).where(runs.c.ended_at < when).order_by(runs.c.ended_at)
        with self.engine.connect() as connection:
            return list(connection.execute(query.limit(limit)).scalars())

    def _list(self, *conditions: sa.ColumnElement[bool]) -> list[Run]:
        query = sa.select(runs).where(*conditions).order_by(runs.c.number)
        with self.engine.connect() as connection:
            return [run_of(row) for row in connection.execute(query).mappings()]

    def _tell_change(
        self, connection: sa.Connection, run_id: str, row: Any, change: Change
    ) -> None:
        if change.outputs and "run.output" in target_events(row.webhook):
            for output in change.outputs:
                self._tell(connection, run_id, change.status, "run.output", (output,))
        if change.status is not None:
            self._tell(connection, run_id, change.status, notes=change.notes or ())
        elif row.webhook_steps and change.progress is not None:
            self._tell(connection, run_id, None)

    def _tell(
        self,
        connection: sa.Connection,
        run_id: str,
        status: Status | None,
        kind: Any = "run.updated",
        made: tuple[RunOutput, ...] = (),
        notes: tuple[Remark, ...] = (),
    ) -> None:
        """Write an event, numbered after the run's last one, and announce it."""
        query = sa.update(runs).where(runs.c.id == run_id)
        counted = query.values(webhook_sequence=runs.c.webhook_sequence + 1)
        row = connection.execute(
            counted.returning(
                runs.c.webhook_sequence, runs.c.status, runs.c.live_status, runs.c.progress
            )
        ).one()
        if kind == "run.updated" and status is not None:
            body = sa.select(outputs.c.body).where(outputs.c.run_id == run_id)
            found = connection.execute(body.order_by(outputs.c.position)).scalars()
            made = tuple(msgspec.json.decode(output, type=RunOutput) for output in found)
        event = WebhookEvent(
            id=message_id(run_id, row[0]),
            run_id=run_id,
            sequence=row[0],
            kind=kind,
            status=row[1],
            live_status=row[2],
            progress=row[3],
            outputs=made,
            notes=notes,
        )
        self._write(connection, [event])

    def _write(self, connection: sa.Connection, events: Sequence[WebhookEvent]) -> None:
        """Write events down, and announce them."""
        if events:
            write_events(connection, events)
            self._announce(connection, events)


def target_events(url: str) -> list[str]:
    """The events that a webhook's URL asks for beside the status changes."""
    wanted = parse_qs(urlsplit(url).query).get("target_events", [])
    return [name.strip() for names in wanted for name in names.split(",")]


def _row(run: NewRun, now: float) -> dict[str, Any]:
    return {
        "id": run.id,
        "owner": run.owner,
        "status": "queued",
        "progress": 0.0,
        "created_at": now,
        "updated_at": now,
        "queued_at": now,
        "batch_id": run.batch_id,
        "queue": run.begins,
        "notes": "[]",
        "order": _text(run.order),
        "webhook": run.order.webhook,
        "webhook_steps": run.order.webhook_intermediate_status,
        "webhook_sequence": int(bool(run.order.webhook)),
    }


def _first_event(run: NewRun) -> WebhookEvent:
    """That a run is queued; its row is written as having it already."""
    return WebhookEvent(
        id=message_id(run.id, 1), run_id=run.id, sequence=1, kind="run.updated", status="queued"
    )


def run_of(row: Any) -> Run:
    """The run that a row tells of."""
    known = {name: row[name] for name in Run.__struct_fields__}
    known["order"] = msgspec.json.decode(row["order"], type=Order)
    notes = msgspec.json.decode(row["notes"], type=tuple[Remark | str, ...])
    known["notes"] = tuple(
        Remark("read_freely", None, note) if isinstance(note, str) else note  # of older versions
        for note in notes
    )
    return Run(**known)


def _values(change: Change) -> dict[Any, Any]:
    now = time.time()
    values: dict[Any, Any] = {"updated_at": now}
    for name in ("status", "live_status", "progress", "error"):
        if (value := getattr(change, name)) is not None:
            values[name] = value
    if change.notes is not None:
        values["notes"] = _text(change.notes)
    if change.status == "started":
        values["started_at"] = sa.func.coalesce(runs.c.started_at, now)
    if change.status in ENDED:
        values["ended_at"] = now
    return values


def _output_row(output: RunOutput, position: int) -> dict[str, Any]:
    return {
        "id": output.id,
        "run_id": output.run_id,
        "position": position,
        "created_at": output.created_at,
        "body": _text(output),
    }


def decoded(body: str, kind: type[T]) -> T:
    """What a column of JSON holds."""
    return msgspec.json.decode(body, type=kind)


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode()
