"""Who is at work on what: written down before work begins, and asked for when it ends.

A claim does two things. Whatever its holder writes is written only while it holds: of two
processes that work on one run, because a lock was lost or a process slept, one ends it. And
one that is found unreleased says that its holder's process ended in the middle: a crash.
"""

import itertools
import uuid
from collections.abc import Iterable

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from gateway.runs.durable.schema import claims

MAX_CRASHES = 3
"""In flight at so many, work is taken to have caused them, and ends as failed."""

ALONE_AFTER_CRASHES = 2
"""In flight at so many, work is done with no other suspect beside it."""

CRASHED = f"The gateway crashed {MAX_CRASHES} times while drawing this."


class Claim(msgspec.Struct, frozen=True):
    """That this process works on a subject, and at how many crashes others did."""

    subject: str
    holder: str
    crashes: int

    @property
    def is_poison(self) -> bool:
        """Whether the work must not be tried again."""
        return self.crashes >= MAX_CRASHES


class Claims:
    """The claims of one process's life. Every call blocks."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        self.life = uuid.uuid4().hex
        self._numbers = itertools.count(1)
        is_server = engine.dialect.name == "postgresql"
        self._insert = postgresql.insert if is_server else sqlite.insert

    def crashes(self, subject: str) -> int:
        """At how many crashes a subject was in flight."""
        query = sa.select(self._counted).where(claims.c.subject == subject)
        with self.engine.connect() as connection:
            return connection.execute(query).scalar() or 0

    def crashes_under(self, prefix: str) -> dict[str, int]:
        """The same of every subject that begins so."""
        query = sa.select(claims.c.subject, self._counted).where(
            claims.c.subject.startswith(prefix, autoescape=True)
        )
        with self.engine.connect() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    def take(self, subject: str) -> Claim:
        """Claim a subject; whoever held it before does not any more."""
        with self.engine.begin() as connection:
            return self.take_in(connection, subject)

    def take_in(self, connection: sa.Connection, subject: str) -> Claim:
        """The same in a transaction of the caller's."""
        holder = self._holder()
        row = {"subject": subject, "holder": holder, "crashes": 0}
        query = self._taking(holder).returning(claims.c.crashes)
        return Claim(subject, holder, connection.execute(query, row).scalar_one())

    def take_all(self, subjects: Iterable[str]) -> None:
        """Claim subjects together, whatever their crashes."""
        holder = self._holder()
        rows = [{"subject": subject, "holder": holder, "crashes": 0} for subject in subjects]
        with self.engine.begin() as connection:
            connection.execute(self._taking(holder), rows)

    def _holder(self) -> str:
        return f"{self.life}:{next(self._numbers)}"

    def _taking(self, holder: str) -> postgresql.Insert | sqlite.Insert:
        return self._insert(claims).on_conflict_do_update(
            index_elements=["subject"], set_={"holder": holder, "crashes": self._counted}
        )

    def lost(self, held: Iterable[Claim]) -> list[Claim]:
        """Those of some claims that hold no more."""
        wanted = list(held)
        query = sa.select(claims.c.holder).where(
            claims.c.subject.in_([claim.subject for claim in wanted])
        )
        with self.engine.connect() as connection:
            holders = set(connection.execute(query).scalars())
        return [claim for claim in wanted if claim.holder not in holders]

    def forget(self, subject: str) -> None:
        """Drop the claims on what has ended, and on its parts."""
        parts = claims.c.subject.startswith(f"{subject}/", autoescape=True)
        with self.engine.begin() as connection:
            connection.execute(sa.delete(claims).where((claims.c.subject == subject) | parts))

    def release_all(self) -> None:
        """Let go of everything: this life ends, or begins anew, without a crash."""
        with self.engine.begin() as connection:
            connection.execute(sa.update(claims).where(self._mine).values(holder=None))

    @property
    def _mine(self) -> sa.ColumnElement[bool]:
        return claims.c.holder.startswith(f"{self.life}:", autoescape=True)

    @property
    def _counted(self) -> sa.ColumnElement[int]:
        """The crashes of a subject, with the one that left its claim unreleased."""
        has_crashed = sa.and_(claims.c.holder.is_not(None), sa.not_(self._mine))
        return claims.c.crashes + sa.case((has_crashed, 1), else_=0)


def holds(claim: Claim) -> sa.ColumnElement[bool]:
    """The condition that a claim still holds, for what its holder writes."""
    return sa.exists().where(claims.c.subject == claim.subject, claims.c.holder == claim.holder)


def drop(connection: sa.Connection, subjects: Iterable[str]) -> None:
    """Forget the claims on subjects that have ended."""
    connection.execute(sa.delete(claims).where(claims.c.subject.in_(list(subjects))))
