"""What this process says it does, compared with what it does: nothing accepted goes nowhere.

A workflow can lose the process that works on it without that process ending: its last write
met a full disk, its thread was not to be had, its database was gone between two writes. So,
every few seconds, work that has not ended must be done here, or wait in a queue, or be done
by another process that lives; what is neither, twice in a row, is begun anew.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import sqlalchemy as sa
import structlog

from gateway.runs.batches.records import ENDED as ENDED_BATCHES
from gateway.runs.batches.records import Batch
from gateway.runs.durable.claims import Claim, Claims
from gateway.runs.durable.schema import batches, places, runs, webhook_events
from gateway.runs.durable.slots import Slots
from gateway.runs.durable.workflows import Durable
from gateway.runs.hooks.events import UNDELIVERED, Owed
from gateway.runs.records import ENDED
from gateway.runs.store import decoded
from gateway.telemetry.metrics import MENDED

log = structlog.get_logger()

LOOKS_AT_OTHERS = 4
"""How often in a row a process must be found dead: one that lost its lock takes it again."""

AT_ONCE = 1000

Begin = Callable[[sa.Connection], None]


class Mender:
    """Begins anew what goes nowhere. Its calls block, but for `resume` they go to a thread."""

    def __init__(self, durable: Durable, claims: Claims, slots: Slots) -> None:
        self.durable = durable
        self.claims = claims
        self.slots = slots
        self._stalled: set[str] = set()
        self._orphaned: set[str] = set()
        self._dead: Counter[str] = Counter()

    def begin_anew(self, *, at_once: bool = False) -> int:
        """Begin what has not ended and has no workflow that goes on; how many.

        Between two transactions that is so for a moment, hence not before the second look,
        except `at_once`.
        """
        begins = dict(self._found())
        chosen = begins if at_once else begins.keys() & self._stalled
        for subject in chosen:
            with self.durable.engine.begin() as connection:
                if self.durable.clear(connection, subject):
                    begins[subject](connection)
        if chosen:
            MENDED.labels("stalled").inc(len(chosen))
            log.warning("went nowhere, begun anew", subjects=sorted(chosen)[:10], num=len(chosen))
        self._stalled = begins.keys() - chosen
        return len(chosen)

    def abandoned(self) -> list[str]:
        """The workflows that somebody is said to work on, and nobody does.

        Of this process's own those that it does not do, of others' those of the dead.
        """
        pending = self.durable.pending()
        mine = set(pending.pop(self.durable.executor, ())) - self.durable.doing.keys()
        found = sorted(mine & self._orphaned)
        self._orphaned = mine - set(found)
        self._dead = Counter(
            {name: self._dead[name] + 1 for name in pending if self.slots.is_dead(name)}
        )
        for name, looks in self._dead.items():
            if looks >= LOOKS_AT_OTHERS:
                found += pending[name]
        return found

    def lost(self, held: Mapping[str, Claim]) -> list[str]:
        """What is done here, and has ended or is done elsewhere."""
        claims = list(held.values())
        return [claim.subject for claim in self.claims.lost(claims)] if claims else []

    async def resume(self, workflow_ids: list[str]) -> None:
        """Queue workflows for whoever has room."""
        if workflow_ids:
            MENDED.labels("abandoned").inc(len(workflow_ids))
            log.warning("nobody was at work, resumed", num=len(workflow_ids))
            await self.durable.resume(workflow_ids)

    def _found(self) -> Iterator[tuple[str, Begin]]:
        """What has no workflow that goes on, and how each is begun."""
        waiting = sa.select(places.c.run_id).where(places.c.waits.is_(True))
        going_on = self.durable.is_going_on
        unfinished = sa.select(runs.c.id, runs.c.owner).where(
            runs.c.status.not_in(ENDED), runs.c.id.not_in(waiting), ~going_on(runs.c.id)
        )
        table = webhook_events.c
        untold = sa.select(table.id, table.run_id, table.sequence).where(
            table.state.in_(UNDELIVERED), ~going_on(table.id)
        )
        unanswered = sa.select(batches.c.body).where(
            batches.c.status.not_in(ENDED_BATCHES), ~going_on(batches.c.id)
        )
        with self.durable.engine.connect() as connection:
            for run_id, owner in connection.execute(unfinished.limit(AT_ONCE)):
                yield run_id, partial(self.durable.enqueue_runs, new=[(run_id, owner)])
            for row in connection.execute(untold.limit(AT_ONCE)):
                event = Owed(*row)
                yield event.id, partial(self.durable.enqueue_deliveries, events=[event])
            for body in connection.execute(unanswered.limit(AT_ONCE)).scalars():
                batch = decoded(body, Batch)
                yield batch.id, partial(self.durable.enqueue_batch, batch=batch)
