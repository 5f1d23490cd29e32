"""Who asks, and how much they may ask for."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import get_args

import msgspec

from gateway.accounts.admission import Asker, Door, departures
from gateway.accounts.keys import Key
from gateway.accounts.tally import OwnTally, Tally
from gateway.catalog.catalog import Model
from gateway.errors import Forbidden, InvalidRequest, OutOfRange, RateLimited
from gateway.job import Priority

FADE = 0.8
"""How much of what samples took before counts beside the latest."""


class Permit(msgspec.Struct, frozen=True, eq=False):
    """Samples of a key in progress since a moment."""

    num_samples: int
    priority: Priority
    begun: float


class Caller(msgspec.Struct, frozen=True):
    """Whoever sent a request; `key` is None where anyone may ask."""

    key: Key | None = None
    priority: Priority = "interactive"

    @property
    def id(self) -> str:
        """What the caller's work is accounted to."""
        return self.key.id if self.key else ""

    @property
    def is_operator(self) -> bool:
        """Whether the caller may see what everyone does."""
        return self.key is None or self.key.operator

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


class Account:
    """What one key has in progress, and how long it took of late."""

    def __init__(self, limit: int) -> None:
        self.permits: list[Permit] = []
        self._limit = limit
        # Its places are kept for nobody: a key may always have as many as it is allowed.
        self._doors = {priority: Door(limit, limit) for priority in get_args(Priority)}
        self._seconds: float | None = None

    def ask(
        self, asker: Asker, priority: Priority, now: float, *, is_full: bool = False
    ) -> int | None:
        """None if there is room, else after how many whole seconds there should be.

        There is none where it `is_full` by samples in progress elsewhere, of which nothing
        more is known.
        """
        begun = [one.begun for one in self._held(priority) for _ in range(one.num_samples)]
        seconds = self._seconds or max((now - at for at in begun), default=0.0)
        left = [max(0.0, at + seconds - now) for at in begun]
        if is_full:
            left += [seconds] * (self._limit - len(left))
        return self._doors[priority].ask(
            asker,
            now,
            {asker.owner: len(left)},
            lambda: departures(asker.owner, left, [], seconds, len(left)),
        )

    def note(self, seconds: float) -> None:
        """Samples were drawn in so long."""
        if self._seconds is None:
            self._seconds = seconds
        self._seconds = FADE * self._seconds + (1 - FADE) * seconds

    def _held(self, priority: Priority) -> list[Permit]:
        """What counts against new samples: its batches take no room from the rest."""
        return [one for one in self.permits if priority in ("batch", one.priority)]


class Limits:
    """Counts requests and samples per key, and refuses what is over.

    The `tally` says what all fronts have together; it is this process's own for a lone one.
    """

    def __init__(self, tally: Tally | None = None) -> None:
        self._tally = tally or OwnTally()
        self._accounts: dict[tuple[str, int], Account] = {}

    async def count_request(self, caller: Caller) -> None:
        """Let a request count towards its key's minute; a batch's lines do not.

        Raises:
            RateLimited: the key has had its requests of this minute.
        """
        await self._count(caller, 1)

    async def count_runs(self, caller: Caller, num_runs: int) -> None:
        """Let a request that makes several runs, counted once already, count as so many.

        Raises:
            InvalidRequest: they are more than the key has in a minute.
            RateLimited: they are more than it has left of this one.
        """
        limit = _per_minute(caller)
        if limit is not None and num_runs > limit:
            raise InvalidRequest(
                f"This would make {num_runs} runs, each of which counts as a request; "
                f"this API key may make {limit} a minute.",
                code="batch_too_large",
            )
        await self._count(caller, num_runs - 1)

    async def _count(self, caller: Caller, num_requests: int) -> None:
        limit = _per_minute(caller)
        if limit is None or num_requests <= 0:
            return
        seconds = await self._tally.count(caller.id, limit, num_requests)
        if seconds is not None:
            raise RateLimited(
                f"Rate limit reached for requests: limit {limit} per minute.",
                retry_after_seconds=seconds,
            )

    @asynccontextmanager
    async def permit(
        self, caller: Caller, num_samples: int, claim: str = ""
    ) -> AsyncIterator[None]:
        """Hold a key's samples while they are drawn; its batches take no room from the rest.

        `claim` is the same when whoever was refused asks again.

        Raises:
            OutOfRange: more at once than the key may ever have.
            RateLimited: the key has too many in progress.
        """
        limit = caller.key.concurrent_samples if caller.key else None
        if limit is None:
            yield
            return
        if num_samples > limit:
            raise OutOfRange("n", "integer", limit, num_samples, above=True)
        account = self._accounts.setdefault((caller.id, limit), Account(limit))
        async with self._tally.holding(caller.id, caller.priority, limit, num_samples) as is_held:
            now, asker = time.monotonic(), Asker(caller.id, claim, num_samples)
            seconds = account.ask(asker, caller.priority, now, is_full=not is_held)
            if seconds is not None:
                raise RateLimited(
                    f"Rate limit reached for concurrent images: limit {limit}.",
                    retry_after_seconds=seconds,
                )
            permit = Permit(num_samples, caller.priority, now)
            account.permits.append(permit)
            try:
                yield
                account.note(time.monotonic() - now)
            finally:
                account.permits.remove(permit)


def _per_minute(caller: Caller) -> int | None:
    if caller.key is None or caller.priority == "batch":
        return None
    return caller.key.requests_per_minute
