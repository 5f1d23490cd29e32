"""Answers that a conversation goes on from: by id, for as long as their pictures are kept."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from gateway.errors import NotFound
from gateway.images.objects import Objects
from gateway.settings import Settings
from gateway.web.door.desk import Desk

PREFIX = "responses/"


class Kept(msgspec.Struct, frozen=True):
    """Whose it is, the names of its pictures in the store, and the answer without them."""

    owner: str
    pictures: tuple[str, ...]
    answer: dict[str, Any] = {}


class KeptAnswers:
    """By ids that nobody can guess; each is its owner's alone."""

    def __init__(self, objects: Objects, settings: Settings) -> None:
        self._objects = objects
        self._lifetime = timedelta(minutes=settings.url_minutes)

    async def put(self, id: str, kept: Kept) -> None:
        """Keep an answer.

        Raises:
            NotStored: it is not kept.
        """
        await self._objects.put(PREFIX + id, msgspec.json.encode(kept))

    async def get(self, id: str, owner: str, param: str | None = None) -> Kept:
        """An answer by its id; `param` is the field that names it.

        Raises:
            NotFound: there is none, or none of this owner's.
        """
        found = await self._objects.get(PREFIX + id) if id.replace("_", "").isalnum() else None
        kept = msgspec.json.decode(found, type=Kept) if found else None
        if kept is None or kept.owner != owner:
            raise NotFound(f"There is no '{id[:100]}', or not any more.", param=param)
        return kept

    async def delete(self, id: str) -> None:
        """Forget an answer; its pictures go when their time is over."""
        await self._objects.delete([PREFIX + id])

    async def sweep(self, now: datetime | None = None) -> int:
        """Delete those whose pictures have gone, and count them."""
        old = await self._objects.keys(PREFIX, (now or datetime.now(UTC)) - self._lifetime)
        await self._objects.delete(old)
        return len(old)


async def read_pictures(desk: Desk, kept: Kept) -> list[bytes]:
    """The pictures of an answer.

    Raises:
        NotFound: their time is over.
    """
    found = [await desk.store.open(name) for name in kept.pictures]
    if not all(found):
        raise NotFound("Its pictures have expired.", code="url_expired")
    return [await one.whole() for one in found if one]
