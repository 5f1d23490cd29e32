"""Adapters that were loaded or unloaded by request at one front, and heard of at the others.

Each front finds the file by itself, under the path or the hub's id that was asked for: it may
lie elsewhere on its machine, or not at all.
"""

import asyncio
import time

import msgspec
import sqlalchemy as sa
import structlog
from sqlalchemy.dialects import postgresql

from gateway.catalog.cards import CardError
from gateway.catalog.collection import Collection, Folders
from gateway.catalog.drafts.loras import card_of, place_of
from gateway.errors import DatabaseUnavailable, GatewayError
from gateway.fronts.changes import tell
from gateway.outages import is_outage
from gateway.runs.durable.schema import adapters

AGAIN_SECONDS = 30.0
"""Before an adapter that could not be served here is tried again: its file may come."""

log = structlog.get_logger()


class Said(msgspec.Struct, frozen=True):
    """That an adapter is served from a path, or with none that it is not; the latest of its id."""

    id: str
    number: int
    name: str
    path: str | None


class SharedBoard:
    """The board in the database."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._heard = 0
        self._own: set[int] = set()
        self._later: dict[str, tuple[float, Said]] = {}

    async def loaded(self, id: str, name: str, path: str) -> None:
        """As `Board`."""
        await self._say(id, name, path)

    async def unloaded(self, id: str, name: str) -> None:
        """As `Board`."""
        await self._say(id, name, None)

    def hear(self, collection: Collection, folders: Folders) -> bool:
        """Serve here what others have said since the last time; whether any is served no more."""
        query = sa.select(adapters).where(adapters.c.number > self._heard)
        with self._engine.connect() as connection:
            rows = connection.execute(query.order_by(adapters.c.number)).mappings()
            new = [Said(**row) for row in rows]
        for said in new:
            self._later.pop(said.id, None)
        now = time.monotonic()
        due = [said for at, said in self._later.values() if at <= now]
        heard = [said for said in (*due, *new) if said.number not in self._own]
        for said in heard:
            self._obey(said, collection, folders)
        self._heard = max([self._heard, *(said.number for said in new)])
        return any(said.path is None for said in heard)

    def _obey(self, said: Said, collection: Collection, folders: Folders) -> None:
        try:
            catalog = collection.now()
            if said.path is None:
                card = catalog.adapters.get(place_of(said.name, catalog))
                if card is not None:
                    collection.withdraw(card)
            else:
                card = card_of(said.name, said.path, catalog, folders)
                collection.add(card, None if ":" in said.name else said.name)
        except (GatewayError, CardError, OSError) as fault:
            if said.id not in self._later:
                told = "what another front was asked of an adapter cannot be done here"
                log.warning(told, model=said.id, fault=str(fault))
            self._later[said.id] = (time.monotonic() + AGAIN_SECONDS, said)
        else:
            self._later.pop(said.id, None)

    async def _say(self, id: str, name: str, path: str | None) -> None:
        try:
            self._own.add(await asyncio.to_thread(self._write, id, name, path))
        except Exception as error:
            if not is_outage(error):
                raise
            raise DatabaseUnavailable(
                "The gateway's database does not answer, by which all its fronts would know."
            ) from error

    def _write(self, id: str, name: str, path: str | None) -> int:
        with self._engine.begin() as connection:
            number = tell(connection, "adapters")
            said = {"number": number, "name": name, "path": path}
            query = postgresql.insert(adapters).values(id=id, **said)
            writing = query.on_conflict_do_update(index_elements=["id"], set_=said)
            connection.execute(writing)
        return number
