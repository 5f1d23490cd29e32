"""The operator's key that the settings bring along: from a secret of whoever starts the process.

It is in no store, so that another secret is the end of it.
"""

from collections.abc import Mapping

from gateway.accounts.keys import Key, Keys, hash_of

GIVEN_ID = "operator"


class WithGiven(Keys):
    """The keys of a store, and the given one before them."""

    def __init__(self, store: Keys, secret: str) -> None:
        self._store = store
        self._given = Key(
            id=GIVEN_ID,
            name="of the settings",
            created=0,
            hashed=hash_of(secret),
            webhook_secret="",  # its runs' webhooks are signed as those of no key
            operator=True,
        )

    @property
    def fault(self) -> str | None:
        """Why those of the store cannot be read."""
        return self._store.fault

    def revoke(self, key_id: str) -> bool:
        """Forget a key of the store."""
        return self._store.revoke(key_id)

    def held(self) -> Mapping[str, Key]:
        """As `Keys`."""
        return {GIVEN_ID: self._given, **self._store.held()}

    def add(self, key: Key) -> None:
        """As `Keys`."""
        self._store.add(key)


def with_given(store: Keys, secret: str | None) -> Keys:
    """A store's keys, with the given one if there is one."""
    return WithGiven(store, secret) if secret else store
