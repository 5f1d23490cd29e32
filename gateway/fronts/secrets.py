"""The secrets that fronts sign with, in their database: of the first of them, and of others."""

from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from gateway.fronts.changes import tell
from gateway.images.signing import SECRET_FILE, new_secret
from gateway.runs.durable.schema import secrets


def read_secrets(engine: sa.Engine) -> list[bytes]:
    """All of them, the one to sign with first; blocks."""
    with engine.connect() as connection:
        return _read(connection)


def joined_secrets(engine: sa.Engine, data: Path | None = None) -> list[bytes]:
    """The same, with that of a folder which was a gateway's own until now; blocks."""
    path = data / SECRET_FILE if data else None
    own = path.read_bytes() if path and path.exists() else None
    known = read_secrets(engine)
    if known and (own is None or own in known):
        return known
    with engine.begin() as connection:
        tell(connection, "secrets")  # whoever else does this waits here
        if own is not None or not _read(connection):
            new = {"secret": own or new_secret().encode()}
            connection.execute(postgresql.insert(secrets).on_conflict_do_nothing(), [new])
        return _read(connection)


def _read(connection: sa.Connection) -> list[bytes]:
    query = sa.select(secrets.c.secret).order_by(secrets.c.number)
    return list(connection.execute(query).scalars())
