"""The names that processes go by towards dbos, each held by a lock while its process lives."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import sqlalchemy as sa

from gateway.runs.durable.database import LOCK_FAMILY, SERVER_ARGUMENTS

MAX_SLOTS = 1000
SLOT = "gateway-"


_LOCKED = sa.text(
    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted"
    f" AND classid = {LOCK_FAMILY} AND objid = :index AND database ="
    " (SELECT oid FROM pg_database WHERE datname = current_database())"
)
_LOCKED_HERE = sa.text(f"{_LOCKED.text} AND pid = pg_backend_pid()")


_HELD = sa.text(
    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted"
    f" AND classid = {LOCK_FAMILY} AND objid < {MAX_SLOTS} AND database ="
    " (SELECT oid FROM pg_database WHERE datname = current_database())"
)


def num_held(connection: sa.Connection) -> int:
    """How many processes hold slots of a server's database; blocks."""
    num: int = connection.execute(_HELD).scalar_one()
    return num


class Lock(Protocol):
    """What nobody else holds."""

    def is_held(self) -> bool:
        """Whether it is still this process's."""
        ...

    def close(self) -> None:
        """Let it go."""
        ...


class Slot:
    """A name for this process that its successor after a crash takes over.

    dbos finishes the interrupted workflows of an executor's name when that name starts
    again. Processes that share a database must differ in it, and one that died must have
    an heir: each holds the lowest free slot's lock, which its death lets go.
    """

    def __init__(self, slots: "Slots", index: int, lock: Lock) -> None:
        self._slots = slots
        self._index = index
        self._lock = lock

    @property
    def name(self) -> str:
        """The executor's name."""
        return f"{SLOT}{self._index}"

    def keep(self) -> bool:
        """See to it that the slot is still held, by a new lock where the old one is lost.

        A lock ends with its connection or its file, though its process lives. Returns False
        where another process has taken the slot since.
        """
        if self._lock.is_held():
            return True
        self._lock.close()
        lock = self._slots.lock(self._index)
        if lock is None:
            return False
        self._lock = lock
        return True

    def release(self) -> None:
        """Let the slot go."""
        self._lock.close()


class Slots:
    """The slots of a database, by locks of its server or of the data folder. Calls block."""

    def __init__(self, engine: sa.Engine, data: Path) -> None:
        self._engine = engine
        self._folder = data / "slots"

    def take(self) -> Slot:
        """Hold the lowest free slot."""
        for index in range(MAX_SLOTS):
            if lock := self.lock(index):
                return Slot(self, index, lock)
        raise RuntimeError(f"{MAX_SLOTS} processes share one database")

    def is_dead(self, name: str) -> bool:
        """Whether no process holds the slot of a name."""
        index = name.removeprefix(SLOT)
        if not name.startswith(SLOT) or not index.isdigit():
            return False
        if self._engine.dialect.name == "postgresql":
            with self._engine.connect() as connection:
                return not connection.execute(_LOCKED, {"index": int(index)}).scalar()
        lock = _FileLock.take(self._folder / index)
        if lock is None:
            return False
        lock.close()
        return True

    def lock(self, index: int) -> Lock | None:
        """A slot's lock; None where another process holds it."""
        if self._engine.dialect.name == "postgresql":
            return _ServerLock.take(self._engine.url, index)
        return _FileLock.take(self._folder / str(index))


class _ServerLock:
    """An advisory lock, which lives as long as its connection: one that no pool knows."""

    def __init__(self, connection: sa.Connection, index: int) -> None:
        self._connection = connection
        self._index = index

    @classmethod
    def take(cls, url: sa.URL, index: int) -> "_ServerLock | None":
        engine = sa.create_engine(url, poolclass=sa.NullPool, connect_args=SERVER_ARGUMENTS)
        connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        query = sa.select(sa.func.pg_try_advisory_lock(LOCK_FAMILY, index))
        if connection.execute(query).scalar():
            return cls(connection, index)
        connection.close()
        return None

    def is_held(self) -> bool:
        try:
            return bool(self._connection.execute(_LOCKED_HERE, {"index": self._index}).scalar())
        except sa.exc.SQLAlchemyError:
            return False

    def close(self) -> None:
        with suppress(sa.exc.SQLAlchemyError):  # closed before, or dead
            self._connection.invalidate()
            self._connection.close()


class _FileLock:
    """A lock of a file, for as long as the file is the one at its path."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor

    @classmethod
    def take(cls, path: Path) -> "_FileLock | None":
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        lock = cls(path, descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            return None
        if lock.is_held():
            return lock
        lock.close()  # replaced between opening and locking
        return None

    def is_held(self) -> bool:
        try:
            mine, there = os.fstat(self._descriptor), self._path.stat()
        except OSError:
            return False
        return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
