"""What waits in dbos's queues: any number of workflows go in by the same few statements.

dbos writes one workflow at a time. The others of a request differ from the first in their id,
so they are copies of its rows, made where they lie.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from dbos import DBOSClient, WorkflowSerializationFormat
from sqlalchemy.dialects import postgresql, sqlite

RUNS, WEBHOOKS, BATCHES = "gateway-runs", "gateway-webhooks", "gateway-batches"
CHANNEL = "gateway_queued"
"""What a PostgreSQL server is told, and tells, when something has been queued."""

WORKFLOWS = {RUNS: "gateway.run", WEBHOOKS: "gateway.deliver", BATCHES: "gateway.batch"}


class Entry(msgspec.Struct, frozen=True):
    """A workflow about to be queued; its id is its only argument, `key` divides the queue."""

    id: str
    key: str
    priority: int = 1


class Queues:
    """The queues of a database in which dbos has been launched."""

    def __init__(self, engine: sa.Engine) -> None:
        self._client = DBOSClient(system_database_engine=engine)
        self._is_server = is_server = engine.dialect.name == "postgresql"
        self._insert: Any = postgresql.insert if is_server else sqlite.insert
        self._tables = [
            sa.Table(
                name,
                sa.MetaData(),
                schema="dbos" if is_server else None,
                autoload_with=engine,
                resolve_fks=False,
            )
            for name in ("workflow_status", "workflow_input")
        ]

    def put(self, connection: sa.Connection, queue: str, entries: Sequence[Entry]) -> None:
        """Queue workflows, in their order, in the caller's transaction."""
        if not entries:
            return
        first, others = entries[0], entries[1:]
        self._client.enqueue_in_transaction(
            connection,
            {
                "workflow_name": WORKFLOWS[queue],
                "queue_name": queue,
                "workflow_id": first.id,
                "queue_partition_key": first.key,
                "priority": first.priority,
                # JSON, in which the id stands as it is.
                "serialization_type": WorkflowSerializationFormat.PORTABLE,
            },
            first.id,
        )
        rows = [
            {"id_": entry.id, "key_": entry.key, "priority_": entry.priority, "later_": number}
            for number, entry in enumerate(others, start=1)
        ]
        for table in self._tables if rows else ():
            connection.execute(self._copying(table, first.id), rows)
        if self._is_server:
            connection.execute(sa.select(sa.func.pg_notify(CHANNEL, "")))

    def _copying(self, table: sa.Table, first_id: str) -> sa.Insert:
        """Copy the first one's row of a table; milliseconds keep the order."""
        columns = table.columns
        changed: dict[str, sa.ColumnElement[Any]] = {
            "workflow_uuid": sa.bindparam("id_", type_=sa.Text),
            "queue_partition_key": sa.bindparam("key_", type_=sa.Text),
            "priority": sa.bindparam("priority_", type_=sa.Integer),
        }
        if "created_at" in columns:
            changed["created_at"] = columns.created_at + sa.bindparam("later_", type_=sa.Integer)
        if "inputs" in columns:
            changed["inputs"] = sa.func.replace(
                columns.inputs, first_id, sa.bindparam("id_", type_=sa.Text)
            )
        names = columns.keys()
        row = sa.select(*(changed.get(name, columns[name]) for name in names))
        copying: sa.Insert = self._insert(table).from_select(
            names, row.where(columns.workflow_uuid == first_id)
        )
        # One that is queued already stays as it is, as it does with dbos.
        return copying.on_conflict_do_nothing()  # type: ignore[attr-defined, no-any-return]
