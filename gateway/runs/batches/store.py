"""Batches, which of their lines are answered, and their files; each owner sees its own."""

import time
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import sqlalchemy as sa

from gateway.errors import RateLimited
from gateway.runs.batches.records import ENDED, Batch, Fault, KeptFile, Spent
from gateway.runs.durable.claims import drop
from gateway.runs.durable.schema import batch_answers, batch_files, batch_tokens, batches
from gateway.runs.hooks.events import forget_events
from gateway.runs.places import FULL_SECONDS
from gateway.telemetry.metrics import BATCHES_ENDED, from_zero

OPEN_BATCHES = 100
"""Of one key."""

Announce = Callable[[sa.Connection, Batch], None]
"""Queues a batch in the transaction that writes it."""

Tell = Callable[[sa.Connection, Batch], None]
"""Owes it to whoever wants to know that a batch has ended, in the transaction that ends it."""

from_zero(BATCHES_ENDED, ENDED)


class BatchStore:
    """Queries that block; call them in a thread."""

    def __init__(self, engine: sa.Engine, max_lines: int, tell: Tell) -> None:
        self.engine = engine
        self.max_lines = max_lines
        self._tell = tell

    def add(self, batch: Batch, announce: Announce) -> None:
        """Write a batch down and queue it.

        Raises:
            RateLimited: too many of its owner's have not ended.
        """
        with self.engine.begin() as connection:
            values = {"id": batch.id, "owner": batch.owner, **_changing(batch)}
            connection.execute(sa.insert(batches).values(values))
            if len(_open(connection, batch.owner)) > OPEN_BATCHES:
                raise RateLimited(
                    f"This API key has {OPEN_BATCHES} batches that have not ended.",
                    retry_after_seconds=FULL_SECONDS,
                )
            announce(connection, batch)

    def crowding(self, batch: Batch, num_lines: int) -> list[Fault]:
        """What is wrong with so many lines beside those of its owner's other batches."""
        with self.engine.connect() as connection:
            others = _counted(connection, _open(connection, batch.owner))
        waiting = sum(
            other.num_lines - other.num_completed - other.num_failed
            for other in others
            if other.id != batch.id
        )
        if waiting + num_lines <= self.max_lines:
            return []
        message = (
            f"Enqueued request limit reached: {waiting} requests of this API key's batches wait, "
            f"this one has {num_lines}, and {self.max_lines} may. Try again when some are done."
        )
        return [Fault("request_limit_exceeded", message)]

    def get(self, batch_id: str, owner: str | None = None) -> Batch | None:
        """A batch as it stands, if this owner may see it; None for any owner's."""
        with self.engine.connect() as connection:
            batch = _find(connection, batch_id, owner)
            return _counted(connection, [batch])[0] if batch else None

    def page(self, owner: str, *, after: str | None, limit: int) -> tuple[list[Batch], bool]:
        """An owner's batches, newest first, and whether there are more."""
        query = sa.select(batches.c.body).where(batches.c.owner == owner)
        if after:
            query = query.where(batches.c.number < _number_of(batches, after))
        query = query.order_by(batches.c.number.desc()).limit(limit + 1)
        with self.engine.connect() as connection:
            found = [_batch(body) for body in connection.execute(query).scalars()]
            return _counted(connection, found[:limit]), len(found) > limit

    def change(
        self, batch_id: str, *, unless: Iterable[str] = ENDED, **values: Any
    ) -> Batch | None:
        """Change a batch whose status is none of `unless`; the batch after it, None if it is."""
        with self.engine.begin() as connection:
            batch = _find(connection, batch_id, for_update=True)
            if batch is None or batch.status in unless:
                return None
            changed = msgspec.structs.replace(batch, **values)
            query = sa.update(batches).where(batches.c.id == batch_id)
            connection.execute(query.values(_changing(changed)))
            if changed.has_ended:
                self._tell(connection, changed)
        if changed.has_ended:
            BATCHES_ENDED.labels(changed.status).inc()
        return changed

    def answered(self, batch_id: str) -> dict[int, bool]:
        """The lines of a batch that are answered, and which of them failed."""
        query = sa.select(batch_answers.c.line, batch_answers.c.failed)
        query = query.where(batch_answers.c.batch_id == batch_id).order_by(batch_answers.c.line)
        with self.engine.connect() as connection:
            return {row.line: row.failed for row in connection.execute(query)}

    def note_answer(self, batch: Batch, line: int, spent: Spent, *, failed: bool) -> None:
        """Write down that a line is answered; a second time changes nothing."""
        noted = ((batch_answers, {"failed": failed}), (batch_tokens, msgspec.structs.asdict(spent)))
        with self.engine.begin() as connection:
            for table, values in noted:
                same = sa.and_(table.c.batch_id == batch.id, table.c.line == line)
                connection.execute(sa.delete(table).where(same))
                row = {"batch_id": batch.id, "line": line, **values}
                connection.execute(sa.insert(table).values(row))
            drop(connection, [batch.line_subject(line)])

    def spent(self, batch_id: str) -> Spent:
        """What the answers of a batch took so far."""
        with self.engine.connect() as connection:
            return _spent(connection, [batch_id]).get(batch_id, Spent())

    def ended_before(self, when: float, limit: int) -> list[Batch]:
        """Batches that ended before a time."""
        query = sa.select(batches.c.body).where(
            batches.c.status.in_(ENDED), batches.c.changed_at < when
        )
        with self.engine.connect() as connection:
            return [_batch(body) for body in connection.execute(query.limit(limit)).scalars()]

    def forget(self, batch_id: str) -> None:
        """Delete a batch and what is known of its lines."""
        with self.engine.begin() as connection:
            for table in (batch_answers, batch_tokens):
                connection.execute(sa.delete(table).where(table.c.batch_id == batch_id))
            forget_events(connection, [batch_id])
            connection.execute(sa.delete(batches).where(batches.c.id == batch_id))

    def add_file(self, file: KeptFile) -> None:
        """Write a file down; the same id again replaces it."""
        values = {
            "id": file.id,
            "owner": file.owner,
            "purpose": file.purpose,
            "created_at": file.created_at,
            "expires_at": file.expires_at,
            "body": _text(file),
        }
        with self.engine.begin() as connection:
            connection.execute(sa.delete(batch_files).where(batch_files.c.id == file.id))
            connection.execute(sa.insert(batch_files).values(values))

    def file(self, file_id: str, owner: str) -> KeptFile | None:
        """An owner's file that has not expired."""
        query = sa.select(batch_files.c.body).where(
            batch_files.c.id == file_id, batch_files.c.owner == owner, _is_kept()
        )
        with self.engine.connect() as connection:
            body = connection.execute(query).scalar()
        return msgspec.json.decode(body, type=KeptFile) if body else None

    def files(
        self, owner: str, *, purpose: str | None, after: str | None, limit: int, newest_first: bool
    ) -> tuple[list[KeptFile], bool]:
        """An owner's files, and whether there are more."""
        number = batch_files.c.number
        query = sa.select(batch_files.c.body).where(batch_files.c.owner == owner, _is_kept())
        if purpose:
            query = query.where(batch_files.c.purpose == purpose)
        if after:
            border = _number_of(batch_files, after)
            query = query.where(number < border if newest_first else number > border)
        query = query.order_by(number.desc() if newest_first else number).limit(limit + 1)
        with self.engine.connect() as connection:
            bodies = connection.execute(query).scalars()
            found = [msgspec.json.decode(body, type=KeptFile) for body in bodies]
        return found[:limit], len(found) > limit

    def remove_file(self, file_id: str) -> None:
        """Forget a file."""
        with self.engine.begin() as connection:
            connection.execute(sa.delete(batch_files).where(batch_files.c.id == file_id))

    def files_to_forget(self, before: float, now: float, limit: int) -> list[KeptFile]:
        """Files that had expired by now, or were written before a time."""
        query = sa.select(batch_files.c.body).where(
            sa.or_(batch_files.c.created_at < before, batch_files.c.expires_at <= now)
        )
        with self.engine.connect() as connection:
            bodies = connection.execute(query.limit(limit)).scalars()
            return [msgspec.json.decode(body, type=KeptFile) for body in bodies]


def _find(
    connection: sa.Connection, batch_id: str, owner: str | None = None, *, for_update: bool = False
) -> Batch | None:
    query = sa.select(batches.c.body).where(batches.c.id == batch_id)
    if owner is not None:
        query = query.where(batches.c.owner == owner)
    body = connection.execute(query.with_for_update() if for_update else query).scalar()
    return _batch(body) if body else None


def _open(connection: sa.Connection, owner: str) -> list[Batch]:
    """An owner's batches that have not ended."""
    query = sa.select(batches.c.body).where(
        batches.c.owner == owner, batches.c.status.not_in(ENDED)
    )
    return [_batch(body) for body in connection.execute(query).scalars()]


def _counted(connection: sa.Connection, found: list[Batch]) -> list[Batch]:
    """The batches with how many of their lines are answered; ended ones know it."""
    open_ones = [batch.id for batch in found if not batch.has_ended]
    query = sa.select(batch_answers.c.batch_id, batch_answers.c.failed, sa.func.count()).where(
        batch_answers.c.batch_id.in_(open_ones)
    )
    query = query.group_by(batch_answers.c.batch_id, batch_answers.c.failed)
    spent = _spent(connection, open_ones)
    counts = {(id, bool(failed)): count for id, failed, count in connection.execute(query)}
    return [
        batch
        if batch.has_ended
        else msgspec.structs.replace(
            batch,
            num_completed=counts.get((batch.id, False), 0),
            num_failed=counts.get((batch.id, True), 0),
            spent=spent.get(batch.id, Spent()),
        )
        for batch in found
    ]


def _spent(connection: sa.Connection, batch_ids: list[str]) -> dict[str, Spent]:
    """What the answers of batches took."""
    table = batch_tokens.c
    sums = sa.select(table.batch_id, sa.func.sum(table.read), sa.func.sum(table.made))
    query = sums.where(table.batch_id.in_(batch_ids)).group_by(table.batch_id)
    return {id: Spent(int(read), int(made)) for id, read, made in connection.execute(query)}


def _changing(batch: Batch) -> dict[str, Any]:
    return {"status": batch.status, "changed_at": time.time(), "body": _text(batch)}


def _number_of(table: sa.Table, id: str) -> sa.ScalarSelect[Any]:
    return sa.select(table.c.number).where(table.c.id == id).scalar_subquery()


def _is_kept() -> sa.ColumnElement[bool]:
    expires_at = batch_files.c.expires_at
    return sa.or_(expires_at.is_(None), expires_at > time.time())


def _batch(body: str) -> Batch:
    return msgspec.json.decode(body, type=Batch)


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode()
