"""One database for runs and for dbos: SQLite in the data folder, or any by URL."""

import fcntl
import time
import zlib
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from gateway.runs.schema import metadata
from gateway.settings import Settings

POOL_SIZE = 20
CLOSE_SECONDS = 2.0
MAX_SLOTS = 1000
SLOT = "gateway-"
LOCK_FAMILY = zlib.crc32(b"image-gateway") & 0x7FFFFFFF


def open_database(settings: Settings) -> sa.Engine:
    """Connect, and create the tables that are missing."""
    url = settings.database or f"sqlite:///{settings.data / 'runs.sqlite'}"
    engine = _sqlite(url, settings.data) if url.startswith("sqlite") else _server(url)
    metadata.create_all(engine)
    return engine


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
    for index in range(MAX_SLOTS):
        held = _lock(engine, data, index)
        if held is not None:
            return Slot(f"{SLOT}{index}", held)
    raise RuntimeError(f"{MAX_SLOTS} processes share one database")


def is_dead(engine: sa.Engine, data: Path, name: str) -> bool:
    """Whether no process holds the slot of a name."""
    index = name.removeprefix(SLOT)
    if not name.startswith(SLOT) or not index.isdigit():
        return False
    held = _lock(engine, data, int(index))
    if held is None:
        return False
    held.close()
    return True


def _lock(engine: sa.Engine, data: Path, index: int) -> Any:
    """What holds a slot's lock until it is closed; None where another process does."""
    if engine.dialect.name == "postgresql":
        return _server_lock(engine, index)
    folder = data / "slots"
    folder.mkdir(parents=True, exist_ok=True)
    file = (folder / str(index)).open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def _server_lock(engine: sa.Engine, index: int) -> Any:
    """An advisory lock lives as long as its connection, which is kept out of the pool."""
    connection = sa.create_engine(engine.url, poolclass=sa.NullPool).connect()
    connection = connection.execution_options(isolation_level="AUTOCOMMIT")
    query = sa.select(sa.func.pg_try_advisory_lock(LOCK_FAMILY, index))
    if connection.execute(query).scalar():
        return connection
    connection.close()
    return None
