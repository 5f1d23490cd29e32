"""Where fronts tell each other which adapters were loaded and unloaded by request."""

from typing import Protocol


class Board(Protocol):
    """What one says here the others hear within a second or so."""

    async def loaded(self, id: str, name: str, path: str) -> None:
        """An adapter is served from now on, under its id and the name it was asked for by.

        Raises:
            DatabaseUnavailable: nobody would hear of it.
        """
        ...

    async def unloaded(self, id: str, name: str) -> None:
        """An adapter is served no more.

        Raises:
            DatabaseUnavailable: nobody would hear of it.
        """
        ...


class NoBoard:
    """Of a front that is alone."""

    async def loaded(self, id: str, name: str, path: str) -> None:
        """Nobody else need know."""

    async def unloaded(self, id: str, name: str) -> None:
        """Nobody else need know."""
