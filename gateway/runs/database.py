"""One database for runs and for dbos: SQLite in the data folder, or any by URL."""

import fcntl
import os
import socket
import zlib
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from gateway.runs.schema import metadata
from gateway.settings import Settings

POOL_SIZE = 20
MAX_SLOTS = 1000


def open_database(settings: Settings) -> sa.Engine:
    """Connect, and create the tables that are missing."""
    url = settings.database or f"sqlite:///{settings.data / 'runs.sqlite'}"
    engine = _sqlite(url, settings.data) if url.startswith("sqlite") else _server(url)
    metadata.create_all(engine)
    return engine


def _sqlite(url: str, data: Path) -> sa.Engine:
    data.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(url, pool_size=POOL_SIZE, max_overflow=POOL_SIZE)

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
    return sa.create_engine(parsed, pool_size=POOL_SIZE, max_overflow=POOL_SIZE, pool_pre_ping=True)


class Slot:
    """A name for this process that its successor after a crash takes over.

    dbos finishes the interrupted workflows of an executor's name when that name starts
    again. Processes that share a database must differ in it, and one that died must have
    an heir: each holds the lowest free slot's lock, which its death lets go.
    """

    def __init__(self, name: str, held: Any) -> None:
        self.name = name
        self._held = held

    def release(self) -> None:
        """Let the slot go."""
        self._held.close()


def take_slot(engine: sa.Engine, data: Path) -> Slot:
    """Hold the lowest free slot, by a lock of the database server or of the data folder."""
    if engine.dialect.name == "postgresql":
        return _server_slot(engine)
    folder = data / "slots"
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(MAX_SLOTS):
        descriptor = os.open(folder / str(index), os.O_RDWR | os.O_CREAT)
        file = os.fdopen(descriptor, "r+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            continue
        return Slot(f"gateway-{index}", file)
    raise RuntimeError(f"{MAX_SLOTS} processes share {data} on {socket.gethostname()}")


def _server_slot(engine: sa.Engine) -> Slot:
    """An advisory lock lives as long as its connection, which is kept out of the pool."""
    connection = sa.create_engine(engine.url, poolclass=sa.NullPool).connect()
    connection = connection.execution_options(isolation_level="AUTOCOMMIT")
    family = zlib.crc32(b"image-gateway") & 0x7FFFFFFF
    for index in range(MAX_SLOTS):
        query = sa.select(sa.func.pg_try_advisory_lock(family, index))
        if connection.execute(query).scalar():
            return Slot(f"gateway-{index}", connection)
    raise RuntimeError(f"{MAX_SLOTS} processes share {engine.url.host}")
