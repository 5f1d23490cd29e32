"""Where the catalogue that comes with the gateway lies, and how it joins the user's own."""

from pathlib import Path

from gateway.catalog.catalog import Catalog, load_catalog
from gateway.settings import Settings

PACKAGE = Path(__file__).parents[1]


def bundled(name: str) -> Path:
    """The bundled `models` or `adapters` folder: in a wheel inside the package, else beside it."""
    inside = PACKAGE / "bundled" / name
    return inside if inside.is_dir() else PACKAGE.parent / name


def full_catalog(settings: Settings) -> Catalog:
    """Every card there is, the user's folders after the bundled ones.

    Raises:
        CardError: a card is malformed.
    """
    return load_catalog(
        tuple(path for path in (bundled("models"), settings.models) if path),
        tuple(path for path in (bundled("adapters"), settings.adapters) if path),
    )


def served_catalog(settings: Settings) -> Catalog:
    """The cards of the endpoints this process serves, under their aliases too.

    Raises:
        CardError: a card is malformed, or an id to serve has none.
    """
    return full_catalog(settings).served(settings.endpoints, settings.aliases)
