"""One database for runs and for dbos: SQLite in the data folder, or any by URL."""

import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from gateway.runs.durable.schema import VERSION, metadata, schema
from gateway.settings import Settings

POOL_SIZE = 20
CLOSE_SECONDS = 2.0
WAIT_SECONDS = 10.0
"""For one of the connections, or for the server to say anything."""

POOL: dict[str, Any] = {
    "pool_size": POOL_SIZE,
    "max_overflow": POOL_SIZE,
    "pool_timeout": WAIT_SECONDS,
}
SERVER_ARGUMENTS = {
    "connect_timeout": int(WAIT_SECONDS),
    "tcp_user_timeout": int(WAIT_SECONDS * 1000),
    "keepalives_idle": int(WAIT_SECONDS),
}
"""A server that has gone without a word is noticed."""

OURS = "gateway_"
SHOWN = 5

LOCK_FAMILY = zlib.crc32(b"image-gateway") & 0x7FFFFFFF
LOCK_OF_TABLES = -2
"""Beside the numbers of processes' slots: who makes tables holds off the others."""


class NewerDatabase(ValueError):
    """The database is of a gateway that came later."""


def open_database(settings: Settings) -> sa.Engine:
    """Connect, and create the tables and indexes that are missing.

    Raises:
        NewerDatabase: what is there is of a later gateway, and is left alone.
    """
    url = settings.database or f"sqlite:///{settings.data / 'runs.sqlite'}"
    engine = _sqlite(url, settings.data) if url.startswith("sqlite") else _server(url)
    try:
        with _alone(engine) as connection:
            _check_age(connection)
            _make_tables(connection)
    except BaseException:
        engine.dispose()
        raise
    return engine


def _make_tables(connection: sa.Connection) -> None:
    metadata.create_all(connection)
    if connection.execute(sa.select(schema.c.version)).first() is None:
        connection.execute(sa.insert(schema).values(version=VERSION))
    for table in metadata.tables.values():
        for index in table.indexes:
            index.create(connection, checkfirst=True)


@contextmanager
def _alone(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction in which no other process makes tables."""
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            lock = sa.func.pg_advisory_xact_lock(LOCK_FAMILY, LOCK_OF_TABLES)
            connection.execute(sa.select(lock))
        else:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        yield connection


def _check_age(connection: sa.Connection) -> None:
    """Refuse what a later gateway has written, by what it says or by what is unknown in it."""
    inspector = sa.inspect(connection)
    found = {name for name in inspector.get_table_names() if name.startswith(OURS)}
    if schema.name in found:
        version = connection.execute(sa.select(sa.func.max(schema.c.version))).scalar() or 0
        if version > VERSION:
            raise NewerDatabase(
                f"its tables are of version {version}, and this gateway knows those up to "
                f"{VERSION}: a newer gateway has used it"
            )
    unknown = sorted(found - metadata.tables.keys())
    for name in sorted(found & metadata.tables.keys()):
        known = metadata.tables[name].columns.keys()
        unknown += [
            f"{name}.{column['name']}"
            for column in inspector.get_columns(name)
            if column["name"] not in known
        ]
    if unknown:
        listed = ", ".join(unknown[:SHOWN])
        raise NewerDatabase(f"it has {listed}, which this gateway does not know: is it older?")


def close_database(engine: sa.Engine) -> None:
    """Close every connection, giving those still in dbos's hands a moment to come back."""
    deadline = time.monotonic() + CLOSE_SECONDS
    while _num_in_use(engine) and time.monotonic() < deadline:
        time.sleep(0.01)
    engine.dispose()


def _num_in_use(engine: sa.Engine) -> int:
    return engine.pool.checkedout() if isinstance(engine.pool, sa.QueuePool) else 0


def _sqlite(url: str, data: Path) -> sa.Engine:
    data.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(url, **POOL)

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        """Readers beside one writer, a commit on disk before it is answered."""
        connection.isolation_level = "IMMEDIATE"
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "busy_timeout=30000",
            "foreign_keys=ON",
        ):
            connection.execute(f"PRAGMA {pragma}")

    return engine


def _server(url: str) -> sa.Engine:
    parsed = sa.make_url(url)
    if parsed.drivername in ("postgres", "postgresql"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    return sa.create_engine(parsed, **POOL, connect_args=SERVER_ARGUMENTS, pool_pre_ping=True)
