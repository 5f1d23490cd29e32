"""The operator's key that the settings bring along: from a secret of whoever starts the process.

It is in no store, so that another secret is the end of it.
"""

import hmac
from typing import Protocol

from gateway.accounts.keys import Key

GIVEN_ID = "operator"


class Known(Protocol):
    """Keys, as far as it matters who asks."""

    @property
    def fault(self) -> str | None:
        """Why they cannot be read."""
        ...

    def keys(self) -> list[Key]:
        """Every key, oldest first."""
        ...

    def find(self, secret: str) -> Key | None:
        """The key that a secret belongs to."""
        ...

    def get(self, key_id: str) -> Key | None:
        """The key of an id."""
        ...


class WithGiven:
    """The keys of a store, and the given one before them."""

    def __init__(self, store: Known, secret: str) -> None:
        self._store = store
        self._secret = secret.encode()
        self._given = Key(
            id=GIVEN_ID,
            name="of the settings",
            created=0,
            hashed="",
            webhook_secret="",  # its runs' webhooks are signed as those of no key
            operator=True,
        )

    @property
    def fault(self) -> str | None:
        """Why those of the store cannot be read."""
        return self._store.fault

    def keys(self) -> list[Key]:
        """Every key."""
        return [self._given, *self._store.keys()]

    def find(self, secret: str) -> Key | None:
        """The key that a secret belongs to."""
        is_given = hmac.compare_digest(self._secret, secret.encode())
        return self._given if is_given else self._store.find(secret)

    def get(self, key_id: str) -> Key | None:
        """The key of an id."""
        return self._given if key_id == GIVEN_ID else self._store.get(key_id)


def with_given(store: Known, secret: str | None) -> Known:
    """A store's keys, with the given one if there is one."""
    return WithGiven(store, secret) if secret else store
