"""From a request's headers to who asks."""

from typing import Any

from litestar.connection import ASGIConnection

from gateway.accounts.keys import KeyStore
from gateway.accounts.limits import Caller, Limits
from gateway.errors import Unauthorized
from gateway.settings import Settings

Connection = ASGIConnection[Any, Any, Any, Any]
BATCH_OWNER = "batch_owner"
"""In the state of a request that is a batch's line: the id of the key it is accounted to."""


class Doorkeeper:
    """Knows the keys."""

    def __init__(self, settings: Settings, keys: KeyStore) -> None:
        self.limits = Limits()
        self._is_open = settings.no_auth
        self._keys = keys

    def admit(self, connection: Connection) -> Caller:
        """Who asks; the request counts towards the key's minute.

        Raises:
            Unauthorized: no key, or one that is not known.
            RateLimited: the key has had its requests of this minute.
        """
        caller = self.identify(connection)
        self.limits.count_request(caller)
        return caller

    def identify(self, connection: Connection) -> Caller:
        """Who asks, without counting.

        Raises:
            Unauthorized: no key, or one that is not known.
        """
        if (owner := connection.scope["state"].get(BATCH_OWNER)) is not None:
            return self._owner_of_batch(owner)
        if self._is_open or not self._keys.keys():
            return Caller()
        secret = _secret(connection)
        if not secret:
            raise Unauthorized(
                "You didn't provide an API key. You need to provide your API key in an "
                "Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY)."
            )
        key = self._keys.find(secret)
        if key is None:
            raise Unauthorized("Incorrect API key provided.")
        return Caller(key)

    def _owner_of_batch(self, owner: str) -> Caller:
        """Whose batch a line is of; requests from outside cannot set a scope's state."""
        key = self._keys.get(owner)
        if owner and key is None:
            raise Unauthorized("The API key of this batch has been revoked.")
        return Caller(key, "batch")


def _secret(connection: Connection) -> str:
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    for name in ("api-key", "x-api-key"):
        if connection.headers.get(name):
            return str(connection.headers[name])
    return str(connection.query_params.get("cd_token", ""))
