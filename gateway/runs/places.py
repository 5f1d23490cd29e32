"""Who may begin: runs that a limit binds wait here, oldest first, until there is a place.

A place is a run that has not ended. It either waits or is in flight, which means that nothing
but room in a process holds it up. Ending a run gives its place back in the same transaction,
so that a crash can neither lose a place nor keep one.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from gateway.errors import RateLimited
from gateway.runs.durable.database import LOCK_FAMILY
from gateway.runs.durable.schema import places
from gateway.runs.records import Order

LOOKED_AT = 32
"""Runs at the front of a line that are let in at once."""

FULL_SECONDS = 60.0
"""How long to wait where thousands do already."""

LOCK_OF_ALL = -1
"""Beside the numbers of processes' slots: who chooses holds off the others."""

SamplesOf = Callable[[str], int | None]
"""How many samples a key may draw at once; None for any number."""

HandOver = Callable[[sa.Connection, Sequence[tuple[str, str]]], None]
"""See to it that runs begin, given by their ids and owners, in a transaction's order."""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A run that has not ended, and what it asks of those beside it.

    `subject` is what it draws, within its owner's runs: no more than `run_limit` of one
    subject are in flight, or the least that any of them asks for. `num_samples` are drawn
    at once.
    """

    run_id: str
    owner: str
    subject: str
    num_samples: int
    run_limit: int | None


def place_row(run_id: str, owner: str, order: Order, *, waits: bool) -> dict[str, Any]:
    """The row of a run about to be accepted."""
    return {
        "run_id": run_id,
        "owner": owner,
        "subject": subject_of(order),
        "num_samples": order.num_samples,
        "run_limit": order.concurrency_limit,
        "waits": waits,
    }


def check_room(connection: sa.Connection, owner: str, num_new: int, max_open: float) -> None:
    """Refuse an owner more runs than may wait or be in flight at once.

    Raises:
        RateLimited: with those there are, these would be more than `max_open`.
    """
    query = sa.select(sa.func.count()).where(places.c.owner == owner)
    num_open = connection.execute(query).scalar_one()
    if num_open + num_new > max_open:
        raise RateLimited(
            f"{num_open} runs of this API key have not ended; with {num_new} more there would "
            f"be more than the {max_open} that may be open.",
            retry_after_seconds=FULL_SECONDS,
        )


def subject_of(order: Order) -> str:
    """What `concurrency_limit` counts the runs of."""
    return order.deployment_id or order.model_id or order.workflow_id or "graph"


def beginning(
    waiting: Iterable[Place], in_flight: Iterable[Place], samples_of: SamplesOf
) -> list[Place]:
    """Those of the waiting that may begin now, given oldest first.

    Nobody overtakes: a run that must wait holds up the later ones of its subject, or of its
    key. With nothing in flight the oldest always begins, so that nothing waits for ever.
    """
    crowd = _Crowd(samples_of)
    for place in in_flight:
        crowd.join(place)
    found = []
    for place in waiting:
        if crowd.admits(place):
            crowd.join(place)
            found.append(place)
    return found


class _Crowd:
    """The runs in flight, by key and by what they draw."""

    def __init__(self, samples_of: SamplesOf) -> None:
        self._samples_of = samples_of
        self._samples: Counter[str] = Counter()
        self._limits: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
        self._full: set[str | tuple[str, str]] = set()

    def join(self, place: Place) -> None:
        """Count a run as in flight."""
        self._samples[place.owner] += self._at_once(place)
        self._limits[place.owner, place.subject].append(place.run_limit or math.inf)

    def admits(self, place: Place) -> bool:
        """Whether there is room for one more; where there is not, none for later ones either."""
        line = (place.owner, place.subject)
        if place.owner in self._full or line in self._full:
            return False
        others, limit = self._limits[line], self._samples_of(place.owner)
        if len(others) >= min([place.run_limit or math.inf, *others]):
            self._full.add(line)
            return False
        if limit is not None and self._samples[place.owner] + self._at_once(place) > limit:
            self._full.add(place.owner)
            return False
        return True

    def _at_once(self, place: Place) -> int:
        """A run of more samples than its key may draw at once draws them in parts."""
        limit = self._samples_of(place.owner)
        return place.num_samples if limit is None else min(place.num_samples, limit)


class Places:
    """The places in the database. Every call blocks."""

    def __init__(self, engine: sa.Engine, samples_of: SamplesOf) -> None:
        self.engine = engine
        self._samples_of = samples_of

    def must_wait(self, owner: str, order: Order) -> bool:
        """Whether a run has to ask for its turn: a limit binds it, its own or another's."""
        if order.concurrency_limit is not None or self._samples_of(owner) is not None:
            return True
        limited = sa.select(places.c.number).where(
            places.c.owner == owner,
            places.c.subject == subject_of(order),
            places.c.run_limit.is_not(None),
        )
        with self.engine.connect() as connection:
            return connection.execute(limited.limit(1)).first() is not None

    def waiting(self) -> set[str]:
        """The runs that wait for their turn."""
        with self.engine.connect() as connection:
            return set(connection.execute(sa.select(places.c.run_id).where(_WAITS)).scalars())

    def give(self, hand_over: HandOver) -> bool:
        """Let those begin who may; `hand_over` joins the transaction.

        Returns whether more may begin than were looked at.
        """
        first = sa.select(places.c.number).where(_WAITS).limit(1)
        with self.engine.connect() as connection:
            if connection.execute(first).first() is None:
                return False
        with self.engine.begin() as connection:
            self._alone(connection)
            waiting = _read(connection, _front())
            chosen = beginning(waiting, _read(connection, ~_WAITS), self._samples_of)
            if chosen:
                ids = [place.run_id for place in chosen]
                query = sa.update(places).where(places.c.run_id.in_(ids))
                connection.execute(query.values(waits=False))
                hand_over(connection, [(place.run_id, place.owner) for place in chosen])
        return len(chosen) >= LOOKED_AT

    def _alone(self, connection: sa.Connection) -> None:
        """Until the transaction ends nobody else chooses, in any process."""
        if connection.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(LOCK_FAMILY, LOCK_OF_ALL)))
        else:
            connection.execute(sa.update(places).where(sa.false()).values(waits=False))


_WAITS = places.c.waits.is_(True)


def _front() -> sa.ColumnElement[bool]:
    """The first of every line that waits: thousands behind them need not be read each time."""
    line = (places.c.owner, places.c.subject)
    rank = sa.func.row_number().over(partition_by=line, order_by=places.c.number)
    ranked = sa.select(places.c.number, rank.label("rank")).where(_WAITS).subquery()
    return places.c.number.in_(sa.select(ranked.c.number).where(ranked.c.rank <= LOOKED_AT))


def _read(connection: sa.Connection, condition: sa.ColumnElement[bool]) -> list[Place]:
    columns = [places.c[name] for name in Place.__struct_fields__]
    query = sa.select(*columns).where(condition).order_by(places.c.number)
    return [Place(**row) for row in connection.execute(query).mappings()]
