"""What the database holds that has not ended, counted into the metrics."""

import time
from typing import get_args

import sqlalchemy as sa

from gateway.runs.durable.ground import Ground
from gateway.runs.durable.schema import places, runs, webhook_events
from gateway.runs.hooks.events import UNDELIVERED
from gateway.runs.records import ENDED, Status
from gateway.telemetry.metrics import RUN_WAIT_SECONDS, RUNS, WEBHOOK_LAG_SECONDS, WEBHOOKS

CENSUS_SECONDS = 5.0
UNENDED = tuple(status for status in get_args(Status) if status not in ENDED)


class Census:
    """Taken now and then by each process that has the database."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground

    async def take(self) -> None:
        """Count anew."""
        await self._ground.ask(take_census, self._ground.engine)


def take_census(engine: sa.Engine) -> None:
    """Count runs and webhook events, and how long the oldest of them have waited; blocks."""
    with engine.connect() as connection:
        counted = {status: _count(connection, runs, runs.c.status, status) for status in UNENDED}
        owed = {
            state: _count(connection, webhook_events, webhook_events.c.state, state)
            for state in UNDELIVERED
        }
        queued_at = connection.execute(_QUEUED_AT).scalar()
        untried_at = connection.execute(_UNTRIED_AT).scalar()
    for status, number in counted.items():
        RUNS.labels(status).set(number)
    for state, number in owed.items():
        WEBHOOKS.labels(state).set(number)
    RUN_WAIT_SECONDS.set(_seconds_since(queued_at))
    WEBHOOK_LAG_SECONDS.set(_seconds_since(untried_at))


def _count(
    connection: sa.Connection, table: sa.Table, column: sa.Column[str], value: str
) -> int:
    query = sa.select(sa.func.count()).select_from(table).where(column == value)
    return connection.execute(query).scalar_one()


def _seconds_since(at: float | None) -> float:
    return 0.0 if at is None else max(0.0, time.time() - at)


_QUEUED_AT = sa.select(sa.func.min(runs.c.queued_at)).where(
    runs.c.status == "queued",
    runs.c.id.in_(sa.select(places.c.run_id).where(places.c.waits.is_(False))),
)
"""Those that wait for their key's limits wait for nothing of the gateway's."""

_earlier = webhook_events.alias()
_UNTRIED_AT = sa.select(sa.func.min(webhook_events.c.created_at)).where(
    webhook_events.c.state == "pending",
    ~sa.exists().where(
        _earlier.c.run_id == webhook_events.c.run_id,
        _earlier.c.sequence < webhook_events.c.sequence,
        _earlier.c.state == "retrying",
    ),
)
"""Those behind one that its receiver does not take wait for the receiver."""
