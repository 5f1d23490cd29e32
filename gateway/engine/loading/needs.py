"""What a job needs in memory: its endpoint first, then what lies beside that."""

from pathlib import Path

from gateway.catalog.cards import AdapterCard, EndpointCard
from gateway.catalog.catalog import Catalog, Model
from gateway.errors import OtherWeights
from gateway.job import Job


def names(job: Job, catalog: Catalog) -> list[str]:
    """The ids of all of it."""
    return [job.endpoint, *(id for id, _ in catalog.beside(job))]


def models(job: Job, catalog: Catalog) -> list[Model | None]:
    """What a job needs, the endpoint first; None for what is gone."""
    endpoint = catalog.endpoints.get(job.endpoint)
    beside = [card for _, card in catalog.beside(job)]
    if endpoint is None:
        return [None] * (1 + len(beside))
    return [Model(endpoint), *(Model(endpoint, card) if card else None for card in beside)]


def places(card: EndpointCard | AdapterCard) -> list[Path]:
    """What else may change so that a card can be used: itself, and what it leads to."""
    return [card.path, card.path.parent / card.source] if card.path else []


def check_digests(job: Job, digests: dict[str, str | None]) -> None:
    """Refuse to draw with other weights than were asked for.

    Raises:
        OtherWeights: saying which they are.
    """
    for id, wanted in job.pins.items():
        if wanted != (found := digests.get(id)):
            raise OtherWeights(id, found, wanted)
