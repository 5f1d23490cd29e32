"""Who asks, by the key in a request's headers; and whether one is asked for at all.

Open or closed is decided once, at the start. A gateway bound to loopback without a key is
open: it answers this machine's programs and its own pages. Anything else is closed, and what
is closed stays so, whatever becomes of the keys; an open door closes for good when a key is
first seen. Only `no_auth` keeps it open.
"""

from base64 import b64decode
from collections.abc import Iterator
from typing import Any

import structlog
from litestar.connection import ASGIConnection

from gateway.accounts.given import with_given
from gateway.accounts.keys import Keys
from gateway.accounts.limits import Caller, Limits
from gateway.errors import Forbidden, Unauthorized
from gateway.outside.addresses import is_loopback, is_wide
from gateway.settings import Settings
from gateway.web.door.ledger import note
from gateway.web.door.origins import Origins

Connection = ASGIConnection[Any, Any, Any, Any]
BATCH_OWNER = "batch_owner"
"""In the state of a request that is a batch's line: the id of the key it is accounted to."""

log = structlog.get_logger()


class Doorkeeper:
    """Knows the keys, and who may do without one."""

    def __init__(self, settings: Settings, keys: Keys, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.origins = Origins(settings, lambda: self.is_open)
        self._settings = settings
        self._keys = with_given(keys, settings.operator_key)
        self._is_closed = not (settings.no_auth or is_loopback(settings.host))
        self._told: list[str] = []
        self.concerns()

    @property
    def is_open(self) -> bool:
        """Whether no key is asked for."""
        if self._settings.no_auth:
            return True
        if not self._is_closed and (self._keys.keys() or self._keys.fault):
            self._is_closed = True
        return not self._is_closed

    @property
    def can_admit(self) -> bool:
        """Whether there is anyone to be let in: by a key, or because none is asked for."""
        return self.is_open or bool(self._keys.keys())

    def concerns(self) -> list[str]:
        """What its operator should know of the door; new ones are logged."""
        found = list(self._concerns())
        for concern in found:
            if concern not in self._told:
                log.warning(concern, fault=self._keys.fault)
        self._told = found
        return found

    async def admit(self, connection: Connection) -> Caller:
        """Who asks; the request counts towards the key's minute.

        Raises:
            Unauthorized: no key, or one that is not known.
            RateLimited: the key has had its requests of this minute.
            Misdirected, Forbidden: none is needed, and a stranger's page asks.
        """
        caller = self.identify(connection)
        await self.limits.count_request(caller)
        return caller

    def identify(self, connection: Connection) -> Caller:
        """Who asks, without counting.

        Raises:
            Unauthorized: no key, or one that is not known.
            Misdirected, Forbidden: none is needed, and a stranger's page asks.
        """
        caller = self._caller(connection)
        if caller.key:
            note(connection.scope, key=caller.id)
        return caller

    def check_may_measure(self, connection: Connection) -> None:
        """Let in who may read what all keys do together.

        Raises:
            Unauthorized, Misdirected: as for anyone, unless the settings leave metrics open.
            Forbidden: the key is no operator's.
        """
        if self._settings.open_metrics:
            return
        if not self.identify(connection).is_operator:
            raise Forbidden(
                "Metrics are for an operator's key (gateway keys create NAME --operator), "
                "or for anyone by the setting open_metrics."
            )

    def _caller(self, connection: Connection) -> Caller:
        if (owner := connection.scope["state"].get(BATCH_OWNER)) is not None:
            return self._owner_of_batch(owner)
        if self._is_open_to(connection):
            self.origins.check(connection)
            return Caller()
        secret = _secret(connection)
        if not secret:
            raise Unauthorized(
                "You didn't provide an API key. You need to provide your API key in an "
                "Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY)."
            )
        key = self._keys.find(secret)
        if key is None:
            self.concerns()
            raise Unauthorized("Incorrect API key provided.")
        if _is_basic(connection):
            self.origins.check_page(connection)
        return Caller(key)

    def _is_open_to(self, connection: Connection) -> bool:
        """Open, unless the server listens more widely than the settings say."""
        came_in_at, _port = connection.scope.get("server") or ("", None)
        return self.is_open and (self._settings.no_auth or not is_wide(came_in_at))

    def _owner_of_batch(self, owner: str) -> Caller:
        """Whose batch a line is of; requests from outside cannot set a scope's state."""
        key = self._keys.get(owner)
        if owner and key is None:
            raise Unauthorized("The API key of this batch has been revoked.")
        return Caller(key, "batch")

    def _concerns(self) -> Iterator[str]:
        settings = self._settings
        if self._keys.fault:
            yield "the file of the keys cannot be read; those read before stay in force"
        if not self.can_admit:
            yield "there is no API key, so nobody is answered: gateway keys create NAME"
        if settings.no_auth and not is_loopback(settings.host):
            yield "no_auth: whoever reaches this address is answered"
        elif self.is_open and settings.public_url:
            yield "public_url without an API key: whoever reaches it is answered"
        if self.is_open and "*" in settings.cors_origins:
            yield "cors_origins without an API key: any page in a browser may ask"


def _secret(connection: Connection) -> str:
    scheme, token = _authorization(connection)
    if scheme == "bearer" and token:
        return token
    if scheme == "basic":
        return _password(token)
    for name in ("api-key", "x-api-key"):
        if connection.headers.get(name):
            return str(connection.headers[name])
    query = connection.query_params
    return str(query.get("cd_token") or query.get("token") or "")


def _is_basic(connection: Connection) -> bool:
    """Whether the key came in the one way that a browser may remember and repeat by itself."""
    return _authorization(connection)[0] == "basic"


def _authorization(connection: Connection) -> tuple[str, str]:
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    return scheme.lower(), token.strip()


def _password(credentials: str) -> str:
    """The password of `name:password` in base64, for any name; empty where it is none."""
    try:
        return b64decode(credentials, validate=True).decode().partition(":")[2]
    except ValueError:
        return ""
