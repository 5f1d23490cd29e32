"""API keys in the database of several fronts: one made at any of them is known to all."""

import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from gateway.accounts.keys import MOVED, Key, Keys, KeyStore
from gateway.fronts.changes import tell
from gateway.runs.durable.schema import keys

HINT = """\
The API keys of this folder are kept in the database of its gateway now: say which, with
--database or GATEWAY_DATABASE. Without this file the folder has keys of its own again.
"""


class SharedKeys(Keys):
    """Held in memory as they were read last, so that asking for one asks no database."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._keys: Mapping[str, Key] = {}
        self.read()

    def read(self) -> None:
        """Read them anew; blocks."""
        query = sa.select(keys.c.body).where(keys.c.revoked_at.is_(None))
        with self._engine.connect() as connection:
            found = connection.execute(query.order_by(keys.c.created_at, keys.c.id)).scalars()
            read = [msgspec.json.decode(body, type=Key) for body in found]
        self._keys = {key.id: key for key in read}

    def revoke(self, key_id: str) -> bool:
        """Forget a key, at every front within a second or so; False if there is none of that id."""
        there = sa.update(keys).where(keys.c.id == key_id, keys.c.revoked_at.is_(None))
        with self._engine.begin() as connection:
            tell(connection, "keys")
            is_found = connection.execute(there.values(revoked_at=time.time())).rowcount > 0
        self.read()
        return is_found

    def adopt(self, data: Path) -> None:
        """Take over the keys of a folder but for those revoked since, and say there where they are.

        Raises:
            KeyFileError: they cannot be read.
        """
        self._write(KeyStore(data).whole().values())
        data.mkdir(parents=True, exist_ok=True)
        (data / MOVED).write_text(HINT)

    def held(self) -> Mapping[str, Key]:
        """As `Keys`."""
        return self._keys

    def add(self, key: Key) -> None:
        """As `Keys`."""
        self._write([key])

    def _write(self, new: Iterable[Key]) -> None:
        rows = [
            {"id": key.id, "created_at": key.created, "body": msgspec.json.encode(key).decode()}
            for key in new
        ]
        if rows:
            with self._engine.begin() as connection:
                tell(connection, "keys")
                inserting = postgresql.insert(keys).on_conflict_do_nothing()
                connection.execute(inserting, rows)
            self.read()
