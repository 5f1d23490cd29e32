"""What a front stands on: its own folder, or what all fronts of a PostgreSQL hold in common."""

from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Protocol

from gateway.accounts.keys import Keys, KeyStore
from gateway.accounts.tally import OwnTally, Tally
from gateway.catalog.board import Board, NoBoard
from gateway.catalog.collection import Collection, Folders
from gateway.images.signing import Signer
from gateway.settings import Settings

if TYPE_CHECKING:
    import sqlalchemy as sa


class Holdings(Protocol):
    """Keys, what is signed with, what keys have had, and what is told of adapters."""

    @property
    def keys(self) -> Keys: ...
    @property
    def signer(self) -> Signer: ...
    @property
    def tally(self) -> Tally: ...
    @property
    def board(self) -> Board: ...

    def followed(
        self, collection: Collection, folders: Folders, notice: Callable[[], None]
    ) -> AbstractAsyncContextManager[None]:
        """Hear what other fronts change for as long as a block lasts, and let go at its end."""
        ...


class Alone:
    """The holdings of a front that has its folder to itself."""

    def __init__(self, settings: Settings) -> None:
        self.keys = KeyStore(settings.data)
        self.signer = Signer.of_folder(settings.data)
        self.tally = OwnTally()
        self.board = NoBoard()

    def followed(
        self, collection: Collection, folders: Folders, notice: Callable[[], None]
    ) -> AbstractAsyncContextManager[None]:
        """There is nobody to hear."""
        return nullcontext()


def holdings_of(settings: Settings) -> Holdings:
    """What a front of these settings stands on."""
    if not settings.has_server:
        return Alone(settings)
    from gateway.fronts.commons import Commons  # noqa: PLC0415  only who has a server needs it

    return Commons(settings)


def has_keys(settings: Settings) -> bool:
    """Whether there are keys, or will be when a front has taken over those of its folder.

    Raises:
        KeyFileError: the file of the folder cannot be read.
    """
    if KeyStore(settings.data).whole():
        return True
    with opened_keys(settings) as keys:
        return bool(keys.whole())


@contextmanager
def opened_keys(settings: Settings) -> Iterator[Keys]:
    """The keys alone, for who changes or counts them."""
    if not settings.has_server:
        yield KeyStore(settings.data)
        return
    from gateway.fronts.keys import SharedKeys  # noqa: PLC0415  only who has a server needs it

    with _database(settings) as engine:
        yield SharedKeys(engine)


def signer_of(settings: Settings) -> Signer:
    """What signs, alone."""
    if not settings.has_server:
        return Signer.of_folder(settings.data)
    from gateway.fronts.secrets import joined_secrets  # noqa: PLC0415

    with _database(settings) as engine:
        return Signer(joined_secrets(engine))


@contextmanager
def _database(settings: Settings) -> "Iterator[sa.Engine]":
    from gateway.runs.durable.database import close_database, open_database  # noqa: PLC0415

    engine = open_database(settings)
    try:
        yield engine
    finally:
        close_database(engine)
