"""What comes along with the gateway: cards, weights, and configs of layouts that need no hub."""

from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[2]


def bundled(name: str) -> Path:
    """A bundled folder, such as `models`: in a wheel inside the package, else beside it."""
    inside = PACKAGE / "bundled" / name
    return inside if inside.is_dir() else PACKAGE.parent / name


@cache
def shipped_layout(repository: str) -> Path | None:
    """The configs and tokenizers of a repository, without weights; None for what is not shipped."""
    place = bundled("layouts") / repository.replace("/", "--")
    return place if place.is_dir() else None
