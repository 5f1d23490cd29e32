"""What the metrics say of the database: what waits for the gateway, and how long it has."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from prometheus_client import REGISTRY

from gateway.runs.census import take_census
from gateway.runs.durable.database import close_database, open_database
from gateway.runs.durable.schema import places, runs, webhook_events
from gateway.runs.hooks.events import write_events
from gateway.runs.records import WebhookEvent
from gateway.runs.store import Change, NewRun, RunStore
from gateway.settings import Settings
from tests.runs.house import OWNER, order


@pytest.fixture
def engine(tmp_path: Path, database: str | None) -> Iterator[sa.Engine]:
    engine = open_database(Settings(data=tmp_path, database=database))
    yield engine
    close_database(engine)


def told(engine: sa.Engine, name: str, **labels: str) -> float | None:
    """A metric after a census."""
    take_census(engine)
    return REGISTRY.get_sample_value(f"gateway_{name}", labels)


def aged(
    engine: sa.Engine, column: sa.Column[float], id: str, seconds: float, **also: object
) -> None:
    """Have something happened so long ago."""
    table = column.table
    values = {column.name: time.time() - seconds, **also}
    with engine.begin() as connection:
        connection.execute(sa.update(table).where(table.c.id == id).values(values))


def test_runs_are_counted_until_they_end(engine: sa.Engine) -> None:
    store = RunStore(engine, lambda _connection, _events: None)
    new = [NewRun(name, OWNER, order(), "batch", "queue") for name in ("a", "b", "c")]
    store.accept(new, lambda _connection, _runs: None)
    assert told(engine, "runs", status="queued") == 3
    store.change("a", Change(status="running"))
    assert told(engine, "runs", status="queued") == 2
    assert told(engine, "runs", status="running") == 1
    before = told(engine, "runs_ended_total", status="failed") or 0
    assert store.change("a", Change(status="failed"))
    assert not store.change("a", Change(status="failed"))
    assert told(engine, "runs_ended_total", status="failed") == before + 1
    assert told(engine, "runs", status="running") == 0


def test_the_longest_wait_is_of_those_whose_keys_let_them_begin(engine: sa.Engine) -> None:
    store = RunStore(engine, lambda _connection, _events: None)
    assert told(engine, "run_wait_seconds") == 0
    bound = NewRun("bound", OWNER, order(), begins="turn")
    for run in (bound, NewRun("free", OWNER, order(), begins="queue")):
        store.accept([run], lambda _connection, _runs: None)
    aged(engine, runs.c.queued_at, "bound", 900)
    aged(engine, runs.c.queued_at, "free", 100)
    assert told(engine, "run_wait_seconds") == pytest.approx(100, abs=60)
    with engine.begin() as connection:
        connection.execute(sa.update(places).values(waits=False))
    assert told(engine, "run_wait_seconds") == pytest.approx(900, abs=60)


def test_lag_is_what_the_gateway_owes_and_not_what_receivers_do(engine: sa.Engine) -> None:
    assert told(engine, "webhook_lag_seconds") == 0
    with engine.begin() as connection:
        write_events(
            connection,
            [
                WebhookEvent(
                    id=f"{run}-{number}",
                    run_id=run,
                    sequence=number,
                    kind="run.updated",
                    status="running",
                )
                for run in ("deaf", "fine")
                for number in (1, 2)
            ],
        )
    aged(engine, webhook_events.c.created_at, "deaf-1", 9000, state="retrying")
    aged(engine, webhook_events.c.created_at, "deaf-2", 8000)
    aged(engine, webhook_events.c.created_at, "fine-1", 500, state="delivered")
    assert told(engine, "webhook_events", state="retrying") == 1
    assert told(engine, "webhook_events", state="pending") == 2
    assert told(engine, "webhook_lag_seconds") == pytest.approx(0, abs=60)
    aged(engine, webhook_events.c.created_at, "fine-2", 400)
    assert told(engine, "webhook_lag_seconds") == pytest.approx(400, abs=60)
    aged(engine, webhook_events.c.created_at, "deaf-1", 9000, state="failed")
    assert told(engine, "webhook_lag_seconds") == pytest.approx(8000, abs=60)
