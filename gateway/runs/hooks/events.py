"""Webhook events in the database: what is to be told of a run or a batch, and every try to."""

import time
from collections.abc import Iterable, Sequence
from typing import Any, Generic, Protocol, TypeVar

import msgspec
import sqlalchemy as sa

from gateway.runs.durable.schema import webhook_attempts, webhook_events
from gateway.runs.records import Attempt

UNDELIVERED = ("pending", "retrying")
"""The states of events that are not delivered or given up."""


class Event(Protocol):
    """What every event says of itself.

    Those of one `subject` are told in the order of their `sequence`, but for those of 0.
    """

    @property
    def id(self) -> str:
        """By which receivers know it, however often it is sent."""
        ...

    @property
    def subject(self) -> str:
        """The id of the run or batch that it is about."""
        ...

    @property
    def sequence(self) -> int:
        """Its place among those of its subject."""
        ...


class Owed(msgspec.Struct, frozen=True):
    """An event of any kind, as far as its delivery is queued by."""

    id: str
    subject: str
    sequence: int


E = TypeVar("E", bound=Event)


class Events(Generic[E]):
    """Queries on the events of one kind. Every call blocks."""

    def __init__(self, engine: sa.Engine, kind: type[E]) -> None:
        self.engine = engine
        self._kind = kind

    def find(self, event_id: str) -> E | None:
        """An event by its id."""
        query = sa.select(webhook_events.c.body).where(webhook_events.c.id == event_id)
        with self.engine.connect() as connection:
            body = connection.execute(query).scalar()
        return msgspec.json.decode(body, type=self._kind) if body else None

    def undelivered(self, event_id: str) -> tuple[E, int, float] | None:
        """An event still to be delivered, how often that was tried, and when last."""
        table, tries = webhook_events, webhook_attempts
        query = (
            sa.select(table.c.body, sa.func.count(tries.c.attempt), sa.func.max(tries.c.at))
            .outerjoin(tries, tries.c.event_id == table.c.id)
            .where(table.c.id == event_id, table.c.state.in_(UNDELIVERED))
            .group_by(table.c.body)
        )
        with self.engine.connect() as connection:
            row = connection.execute(query).first()
        if row is None:
            return None
        body, num_tried, tried_at = row
        return msgspec.json.decode(body, type=self._kind), num_tried, tried_at or 0.0

    def is_next(self, event: E) -> bool:
        """Whether every earlier event of its subject is delivered or given up."""
        table = webhook_events
        query = sa.select(sa.func.count()).where(
            table.c.run_id == event.subject,
            table.c.sequence < event.sequence,
            table.c.state.in_(UNDELIVERED),
        )
        with self.engine.connect() as connection:
            return connection.execute(query).scalar_one() == 0

    def give_up(self, event_id: str) -> None:
        """Owe an event to nobody any more."""
        table = webhook_events
        is_open = sa.and_(table.c.id == event_id, table.c.state.in_(UNDELIVERED))
        with self.engine.begin() as connection:
            connection.execute(sa.update(table).where(is_open).values(state="failed"))

    def record_attempt(self, event: E, attempt: Attempt, state: str) -> None:
        """Write down a try to deliver, and where the event stands after it.

        Not where it has been delivered or given up meanwhile: by another process, while the
        one that tried slept.
        """
        values = msgspec.structs.asdict(attempt) | {"run_id": event.subject}
        same = sa.and_(
            webhook_attempts.c.event_id == event.id,
            webhook_attempts.c.attempt == attempt.attempt,
        )
        table = webhook_events
        is_open = sa.and_(table.c.id == event.id, table.c.state.in_(UNDELIVERED))
        with self.engine.begin() as connection:
            if connection.execute(sa.update(table).where(is_open).values(state=state)).rowcount:
                connection.execute(sa.delete(webhook_attempts).where(same))
                connection.execute(sa.insert(webhook_attempts).values(values))

    def attempts(self, subject: str) -> list[Attempt]:
        """Every try to deliver the events of one, oldest first."""
        table = webhook_attempts
        columns = [table.c[name] for name in Attempt.__struct_fields__]
        query = sa.select(*columns).where(table.c.run_id == subject).order_by(table.c.at)
        with self.engine.connect() as connection:
            return [Attempt(*row) for row in connection.execute(query)]

    def states(self, subject: str) -> list[str]:
        """Where the events of one stand, in their order."""
        table = webhook_events
        query = sa.select(table.c.state).where(table.c.run_id == subject)
        with self.engine.connect() as connection:
            return list(connection.execute(query.order_by(table.c.sequence)).scalars())


def write_events(connection: sa.Connection, events: Iterable[Event]) -> None:
    """Write events down, to be delivered."""
    rows = [_row(event) for event in events]
    if rows:
        connection.execute(sa.insert(webhook_events), rows)


def event_ids(engine: sa.Engine, subjects: Sequence[str]) -> list[str]:
    """The ids of all events of some subjects; blocks."""
    query = sa.select(webhook_events.c.id).where(webhook_events.c.run_id.in_(subjects))
    with engine.connect() as connection:
        return list(connection.execute(query).scalars())


def forget_events(connection: sa.Connection, subjects: Sequence[str]) -> None:
    """Delete the events of some subjects, and the tries to deliver them."""
    for table in (webhook_events, webhook_attempts):
        connection.execute(sa.delete(table).where(table.c.run_id.in_(subjects)))


def _row(event: Event) -> dict[str, Any]:
    return {
        "id": event.id,
        "run_id": event.subject,
        "sequence": event.sequence,
        "created_at": time.time(),
        "body": msgspec.json.encode(event).decode(),
        "state": "pending",
    }
