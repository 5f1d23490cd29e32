"""Where the catalogue that comes with the gateway lies, and how it joins the user's own."""

from fnmatch import fnmatchcase
from itertools import chain
from pathlib import Path

from gateway.catalog.cards import EndpointCard
from gateway.catalog.catalog import Catalog
from gateway.catalog.collection import Collection, Folders
from gateway.catalog.folders import load_catalog
from gateway.catalog.sources.shipped import bundled
from gateway.settings import Settings

DEFAULT = "emoji"


def folders(settings: Settings) -> Folders:
    """Where cards lie: the bundled folders, then the user's."""
    return Folders(
        tuple(path for path in (bundled("models"), settings.models) if path),
        tuple(path for path in (bundled("adapters"), settings.adapters) if path),
        tuple(path for path in (settings.controlnets,) if path),
        tuple(path for path in (settings.embeddings,) if path),
    )


def full_catalog(settings: Settings) -> Catalog:
    """Every card there is, the user's folders after the bundled ones."""
    found = folders(settings)
    return load_catalog(found.models, found.adapters, found.controls, found.embeddings)


def served_ids(settings: Settings, catalog: Catalog) -> list[str]:
    """The endpoints to serve: those named, or `emoji` and all of the user's folder."""
    if settings.endpoints:
        return list(dict.fromkeys(chain(*(_named(id, catalog) for id in settings.endpoints))))
    own = settings.models
    mine = [id for id, card in catalog.endpoints.items() if own and _lies_in(card, own)]
    return list(dict.fromkeys([DEFAULT, *mine]))


def served_collection(settings: Settings) -> Collection:
    """What this process serves, under aliases too, as the folders are now.

    Raises:
        CardError: there is no card of an id to serve; later such are left out.
    """
    whole = full_catalog(settings)
    whole.served(served_ids(settings, whole), settings.aliases)

    def read() -> Catalog:
        whole = full_catalog(settings)
        return whole.part(served_ids(settings, whole), settings.aliases)

    return Collection(read, folders(settings))


def _named(pattern: str, catalog: Catalog) -> list[str]:
    """The ids a pattern such as `sd*` stands for; a plain id itself, be there a card or not."""
    if not set(pattern) & set("*?["):
        return [pattern]
    return [id for id in catalog.endpoints if fnmatchcase(id, pattern)]


def _lies_in(card: EndpointCard, folder: Path) -> bool:
    return card.path is not None and card.path.is_relative_to(folder)
