"""What parts an endpoint will have whose files are still to come, told before gigabytes do."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from gateway.catalog.cards import CardError, EndpointCard
from gateway.catalog.heads.endings import WEIGHTS, ends
from gateway.catalog.heads.headers import Tensors
from gateway.catalog.sources.hub import FAULTS
from gateway.catalog.sources.parts import places_of
from gateway.catalog.sources.weights import is_single
from gateway.catalog.survey.memory import Part, parts_of
from gateway.fetching.fetching import Wanted
from gateway.fetching.repository import Repository

CONFIG = "config.json"


def parts_to_come(card: EndpointCard, wanted: Iterable[Wanted]) -> list[Part]:
    """The parts of an endpoint, by its configs, which are fetched, and by the heads of its weights.

    There are none where these do not tell all: the hub does not answer, or a part comes as a
    single file, of which it is not known yet what it holds.
    """
    with suppress(CardError, *FAULTS):  # which is told when they are fetched
        return parts_of(card, _heads(card, list(wanted)))
    return []


def _heads(card: EndpointCard, wanted: list[Wanted]) -> dict[Path, Tensors]:
    """The heads of the weights that are to come, by where they will lie."""
    listed = {
        one.repository.place(one.file): (one.repository, one.file)
        for one in wanted
        if isinstance(one.repository, Repository)
    }
    for place, (repository, file) in listed.items():
        if place.name == CONFIG:
            repository.file(file, lambda _: None)
    places = places_of(card)
    if is_single(card) or any(place.is_single and place.file is None for place in places):
        raise CardError("what a single file holds is told when it is here")
    folders = {place.folder for place in places}
    return {
        place: repository.head(file)
        for place, (repository, file) in listed.items()
        if place.parent in folders and ends(place, WEIGHTS)
    }
