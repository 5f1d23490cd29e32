"""Who asks, and how much they may ask for."""

import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from litestar.connection import ASGIConnection

from gateway.catalog import Model
from gateway.errors import Forbidden, OutOfRange, RateLimited, Unauthorized
from gateway.job import Priority
from gateway.keys import Key, KeyStore
from gateway.settings import Settings

Connection = ASGIConnection[Any, Any, Any, Any]
MINUTE = 60.0
BATCH_OWNER = "batch_owner"
"""In the state of a request that is a batch's line: the id of the key it is accounted to."""


class Caller(msgspec.Struct, frozen=True):
    """Whoever sent a request; `key` is None where anyone may ask."""

    key: Key | None = None
    priority: Priority = "interactive"

    @property
    def id(self) -> str:
        """What the caller's work is accounted to."""
        return self.key.id if self.key else ""

    def may_use(self, model: Model) -> bool:
        """Whether the key allows a model, or its endpoint."""
        if self.key is None or not self.key.models:
            return True
        return model.id in self.key.models or model.endpoint.id in self.key.models

    def check_may_use(self, model: Model) -> None:
        """Refuse a model that the key does not allow.

        Raises:
            Forbidden: naming the model.
        """
        if not self.may_use(model):
            raise Forbidden(f"This API key may not use the model `{model.id}`.", param="model")


class Doorkeeper:
    """Knows the keys, and counts requests and samples per key."""

    def __init__(self, settings: Settings, keys: KeyStore) -> None:
        self._is_open = settings.no_auth
        self._keys = keys
        self._asked: defaultdict[str, deque[float]] = defaultdict(deque)
        self._samples: Counter[tuple[str, Priority]] = Counter()

    def admit(self, connection: Connection) -> Caller:
        """Who asks; the request counts towards the key's minute.

        Raises:
            Unauthorized: no key, or one that is not known.
            RateLimited: the key has had its requests of this minute.
        """
        caller = self.identify(connection)
        limit = caller.key.requests_per_minute if caller.key else None
        if caller.key and limit is not None and caller.priority != "batch":
            self._count(caller.key, limit)
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

    @contextmanager
    def permit(self, caller: Caller, num_samples: int) -> Iterator[None]:
        """Hold a key's samples while they are drawn; its batches take no room from the rest.

        Raises:
            OutOfRange: more at once than the key may ever have.
            RateLimited: the key has too many in progress.
        """
        limit = caller.key.concurrent_samples if caller.key else None
        if limit is not None and num_samples > limit:
            raise OutOfRange("n", "integer", limit, num_samples, above=True)
        if limit is not None and self._held(caller) + num_samples > limit:
            raise RateLimited(
                f"Rate limit reached for concurrent images: limit {limit}.",
                retry_after_seconds=1,
            )
        self._samples[caller.id, caller.priority] += num_samples
        try:
            yield
        finally:
            self._samples[caller.id, caller.priority] -= num_samples

    def _held(self, caller: Caller) -> int:
        """A key's samples in progress that count against a new one."""
        held = self._samples[caller.id, "interactive"]
        return held + self._samples[caller.id, "batch"] if caller.priority == "batch" else held

    def _count(self, key: Key, limit: int) -> None:
        now, asked = time.monotonic(), self._asked[key.id]
        while asked and asked[0] <= now - MINUTE:
            asked.popleft()
        if len(asked) >= limit:
            raise RateLimited(
                f"Rate limit reached for requests: limit {limit} per minute.",
                retry_after_seconds=(asked[0] + MINUTE - now) if asked else MINUTE,
            )
        asked.append(now)


def _secret(connection: Connection) -> str:
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    for name in ("api-key", "x-api-key"):
        if connection.headers.get(name):
            return str(connection.headers[name])
    return str(connection.query_params.get("cd_token", ""))
