"""The runs that an owner has: those that have not ended, and those that have."""

from collections.abc import Iterator, Sequence

import sqlalchemy as sa

from gateway.runs.durable.schema import places, runs
from gateway.runs.records import Run
from gateway.runs.store import run_of

MAX_RUNS = 1000
MAX_BYTES = 16 * 2**20
"""Of all orders that are read at once, each of which may have over a MiB."""


class History:
    """Queries on many runs at once. Every call blocks: the event loop calls them in a thread."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine

    def open_ids(self, owner: str) -> list[str]:
        """The runs of an owner that have not ended, of any kind, oldest first."""
        query = sa.select(places.c.run_id).where(places.c.owner == owner)
        with self.engine.connect() as connection:
            return list(connection.execute(query.order_by(places.c.number)).scalars())

    def latest(self, owner: str, limit: int) -> list[Run]:
        """The runs of an owner, of any kind, newest first."""
        query = sa.select(runs).where(runs.c.owner == owner).order_by(runs.c.number.desc())
        return list(self._read(query, limit))

    def open(self, owner: str) -> list[Run]:
        """Those of graphs among them; when they are too many, the oldest."""
        query = sa.select(runs).join(places, places.c.run_id == runs.c.id)
        query = query.where(places.c.owner == owner).order_by(places.c.number)
        return self._graphs(query, MAX_RUNS)

    def ended(self, owner: str, limit: int) -> list[Run]:
        """The latest runs of graphs that have been begun and have ended, newest first."""
        query = sa.select(runs).where(
            runs.c.owner == owner, runs.c.ended_at.is_not(None), runs.c.started_at.is_not(None)
        )
        return self._graphs(query.order_by(runs.c.number.desc()), min(limit, MAX_RUNS))

    def ended_ids(self, owner: str, ids: Sequence[str] | None = None) -> list[str]:
        """Which of these runs are an owner's and have ended; of all of them, without any."""
        query = sa.select(runs.c.id).where(runs.c.owner == owner, runs.c.ended_at.is_not(None))
        query = query if ids is None else query.where(runs.c.id.in_(ids))
        with self.engine.connect() as connection:
            return list(connection.execute(query.limit(MAX_RUNS)).scalars())

    def _graphs(self, query: sa.Select[tuple[object]], limit: int) -> list[Run]:
        """The runs of graphs that a query finds."""
        query = query.where(runs.c.order.contains('"graph":{'))
        return [run for run in self._read(query, limit) if run.order.graph is not None]

    def _read(self, query: sa.Select[tuple[object]], limit: int) -> Iterator[Run]:
        """The runs that a query finds, as many as may be read at once."""
        num_bytes = 0
        with self.engine.connect() as connection:
            for number, row in enumerate(connection.execute(query.limit(limit)).mappings()):
                num_bytes += len(row["order"])
                if num_bytes > MAX_BYTES and number:
                    break
                yield run_of(row)
