"""Webhook endpoints in the database, and the events that they are owed."""

import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from gateway.errors import InvalidRequest
from gateway.runs.batches.records import Batch
from gateway.runs.durable.schema import hooks
from gateway.runs.hooks.events import Event, write_events
from gateway.runs.hooks.records import EVENT_PREFIX, BatchEvent, Hook

MAX_HOOKS = 20
"""Of one key."""

Announce = Callable[[sa.Connection, Sequence[Event]], None]
"""Hands events to their delivery, in the transaction that writes them."""


class HookStore:
    """Queries that block; call them in a thread."""

    def __init__(self, engine: sa.Engine, announce: Announce) -> None:
        self.engine = engine
        self._announce = announce

    def add(self, hook: Hook) -> None:
        """Write an endpoint down.

        Raises:
            InvalidRequest: its owner has as many as it may.
        """
        with self.engine.begin() as connection:
            values = {"id": hook.id, "owner": hook.owner, "body": _text(hook)}
            connection.execute(sa.insert(hooks).values(values))
            counted = sa.select(sa.func.count()).where(hooks.c.owner == hook.owner)
            if connection.execute(counted).scalar_one() > MAX_HOOKS:
                raise InvalidRequest(
                    f"An API key may have {MAX_HOOKS} webhook endpoints; delete one of them.",
                    code="webhook_endpoint_limit_exceeded",
                )

    def get(self, hook_id: str, owner: str | None = None) -> Hook | None:
        """An endpoint, if this owner may see it; None for any owner's."""
        with self.engine.connect() as connection:
            return _find(connection, hook_id, owner)

    def page(self, owner: str, *, after: str | None, limit: int) -> tuple[list[Hook], bool]:
        """An owner's endpoints, newest first, and whether there are more."""
        query = sa.select(hooks.c.body).where(hooks.c.owner == owner)
        if after:
            border = sa.select(hooks.c.number).where(hooks.c.id == after).scalar_subquery()
            query = query.where(hooks.c.number < border)
        query = query.order_by(hooks.c.number.desc()).limit(limit + 1)
        with self.engine.connect() as connection:
            found = [_hook(body) for body in connection.execute(query).scalars()]
        return found[:limit], len(found) > limit

    def change(self, hook_id: str, owner: str, **values: Any) -> Hook | None:
        """Change an owner's endpoint; it after that, None where there is none."""
        with self.engine.begin() as connection:
            hook = _find(connection, hook_id, owner, for_update=True)
            if hook is None:
                return None
            changed = msgspec.structs.replace(hook, **values)
            if changed != hook:
                changed = msgspec.structs.replace(changed, updated_at=time.time())
                query = sa.update(hooks).where(hooks.c.id == hook_id)
                connection.execute(query.values(body=_text(changed)))
            return changed

    def delete(self, hook_id: str, owner: str) -> bool:
        """Forget an owner's endpoint; False where there is none."""
        query = sa.delete(hooks).where(hooks.c.id == hook_id, hooks.c.owner == owner)
        with self.engine.begin() as connection:
            return connection.execute(query).rowcount > 0

    def tell(self, connection: sa.Connection, batch: Batch) -> None:
        """Owe it to a batch's owner's endpoints that it has ended, as its transaction says."""
        kind: Any = f"batch.{batch.status}"
        query = sa.select(hooks.c.body).where(hooks.c.owner == batch.owner)
        found = [_hook(body) for body in connection.execute(query).scalars()]
        events = [
            BatchEvent(
                id=EVENT_PREFIX + secrets.token_hex(12),
                batch_id=batch.id,
                hook_id=hook.id,
                kind=kind,
                at=time.time(),
                trace=batch.trace,
            )
            for hook in found
            if kind in hook.event_types
        ]
        write_events(connection, events)
        self._announce(connection, events)


def _find(
    connection: sa.Connection, hook_id: str, owner: str | None, *, for_update: bool = False
) -> Hook | None:
    query = sa.select(hooks.c.body).where(hooks.c.id == hook_id)
    if owner is not None:
        query = query.where(hooks.c.owner == owner)
    body = connection.execute(query.with_for_update() if for_update else query).scalar()
    return _hook(body) if body else None


def _hook(body: str) -> Hook:
    return msgspec.json.decode(body, type=Hook)


def _text(hook: Hook) -> str:
    return msgspec.json.encode(hook).decode()
