"""What replicas found out of models, asked for once and remembered: the front holds no torch."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from gateway.catalog.abilities import Abilities
from gateway.catalog.cards import EndpointCard
from gateway.catalog.catalog import Catalog
from gateway.catalog.collection import Collection
from gateway.cluster.link import Link
from gateway.cluster.member import Member

FRESH_SECONDS = 1.0
"""For so long that nobody knows is good for everyone who asks."""


class Answers:
    """Of the catalogue that is served now; a change of it has all asked again.

    A replica that answered lately is waited for, as the local engine's own trial would be.
    """

    def __init__(self, collection: Collection, members: Callable[[], list[Member]]) -> None:
        self._collection = collection
        self._members = members
        self._asked: Catalog | None = None
        self._known: dict[object, Any] = {}
        self._unknown: dict[object, float] = {}

    def abilities(self, endpoint: str) -> Abilities | None:
        """See `protocol.Engine`."""
        card = self._collection.latest.endpoint(endpoint)
        found: Abilities | None = self._answer(
            ("abilities", card.id), card, lambda link: link.abilities(endpoint)
        )
        return found

    def runs_scheduler(
        self, endpoint: str, name: str | None, config: Mapping[str, Any]
    ) -> bool | None:
        """See `protocol.Engine`."""
        card = self._collection.latest.endpoints.get(endpoint)
        key = (endpoint, name, msgspec.json.encode(config, order="sorted"))
        found: bool | None = self._answer(
            key, card, lambda link: link.runs_scheduler(endpoint, name, config)
        )
        return found

    def _answer(
        self, key: object, card: EndpointCard | None, ask: Callable[[Link], Any]
    ) -> Any:
        latest = self._collection.latest
        if self._asked is not latest:
            self._asked, self._known, self._unknown = latest, {}, {}
        if key in self._known or card is None:
            return self._known.get(key)
        members = [member for member in self._members() if not member.is_silent]
        if not members or time.monotonic() < self._unknown.get(key, 0.0):
            return None
        if (answer := ask(members[0].link)) is not None:
            self._known[key] = answer
        else:
            self._unknown[key] = time.monotonic() + FRESH_SECONDS
        return answer
