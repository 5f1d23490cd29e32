"""Webhook deliveries: signed, in their order, tried again for hours, every try written down."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Generic

import msgspec
from standardwebhooks import Webhook

from gateway.accounts.keys import Keys
from gateway.errors import GatewayError
from gateway.images.signing import Signer
from gateway.outages import patiently
from gateway.outside.outbound import Outbound
from gateway.runs.durable.ground import Ground
from gateway.runs.hooks.events import E, Events
from gateway.runs.records import Attempt
from gateway.telemetry import traces
from gateway.telemetry.metrics import WEBHOOK_TRIES, from_zero

WAITS_SECONDS = (0.5, 1, 5, 30, 120, 600, 1800, 3600, 7200, 10800)
"""Before each further try; together about seven hours. Up to a tenth is added at random."""

TIMEOUT_SECONDS = 20
GONE = 410


def secrets_of(owner: str, keys: Keys, signer: Signer) -> tuple[str, ...]:
    """The secrets that an owner's webhooks are signed with: its key's, else the gateway's own."""
    key = keys.get(owner)
    return (key.webhook_secret,) if key else signer.webhook_secrets()


def wait_seconds(attempt: int) -> float:
    """How long to wait at least after a failed try, the first being 1."""
    return WAITS_SECONDS[attempt - 1]


def spread(seconds: float) -> float:
    """A wait that is not everybody's."""
    return seconds * random.uniform(1, 1.1)


class Letter(msgspec.Struct, frozen=True):
    """An event as it is sent: where to, on whose account, and what signs it, newest first.

    `trace` is the one that it belongs to.
    """

    url: str
    owner: str
    secrets: tuple[str, ...]
    body: bytes
    trace: str = ""


class Deliveries(Generic[E]):
    """Sends events of one kind, as `write` makes letters of them; None where nobody wants one.

    When to look at which again is for the durable workflow to say.
    """

    def __init__(
        self,
        events: Events[E],
        outbound: Outbound,
        ground: Ground,
        write: Callable[[E], Awaitable[Letter | None]],
    ) -> None:
        self.events = events
        self.outbound = outbound
        self.ground = ground
        self._write = write

    async def is_next(self, event_id: str) -> bool:
        """Whether an event's turn has come."""
        event = await self.ground.patiently(self.events.find, event_id)
        return event is None or await self.ground.patiently(self.events.is_next, event)

    async def deliver(self, event_id: str, *, waited: bool) -> float | None:
        """Deliver an event if its time has come; seconds until it may be, None for no more.

        It has when its wait is over: by what was written down of the last try, at a time that
        a clock may have had wrong, or because the caller has `waited`.
        """
        event = await self.ground.patiently(self.events.find, event_id)
        if event is None:
            return None
        letter = await self._write(event)
        if letter is None:
            await self.ground.patiently(self.events.give_up, event_id)
            return None
        # Looked for last: a process that slept until now may have been taken for dead.
        found = await self.ground.patiently(self.events.undelivered, event_id)
        if found is None:
            return None
        event, num_tried, tried_at = found
        if num_tried and not waited:
            seconds = self.ground.calendar.seconds_left(tried_at, wait_seconds(num_tried))
            if seconds > 0:
                return seconds
        tried = await self._attempt(event, letter, num_tried + 1)
        return None if tried.is_final else spread(wait_seconds(tried.attempt))

    async def _attempt(self, event: E, letter: Letter, number: int) -> Attempt:
        """Try once to deliver an event, and write down how it went."""
        started = time.monotonic()
        with traces.again(
            letter.trace, "webhook", asks=True, subject=event.subject, attempt=number
        ) as headers:
            status, fault = await self._post(event, letter, headers)
            if fault is not None:
                traces.failed(fault)
        seconds = time.monotonic() - started
        is_final = fault is None or status == GONE or number > len(WAITS_SECONDS)
        attempt = Attempt(event.id, number, time.time(), seconds, status, fault, is_final)
        record = partial(self.events.record_attempt, event, attempt, _state(attempt))
        await patiently(lambda: asyncio.to_thread(record), "database")
        WEBHOOK_TRIES.labels(_state(attempt)).inc()
        return attempt

    async def _post(
        self, event: E, letter: Letter, headers: dict[str, str]
    ) -> tuple[int | None, str | None]:
        headers = headers | signed_headers(letter.secrets, event.id, letter.body)
        try:
            status = await self.outbound.post(
                letter.url, letter.owner, letter.body, headers, TIMEOUT_SECONDS
            )
        except GatewayError as error:
            return None, error.message
        return status, None if 200 <= status < 300 else f"answered {status}"


def signed_headers(secrets: Sequence[str], event_id: str, body: bytes) -> dict[str, str]:
    """Standard Webhooks headers: the id stays the same for every try, the time does not.

    There is a signature by each of the secrets.
    """
    now = datetime.now(UTC)
    signatures = [Webhook(secret).sign(event_id, now, body.decode()) for secret in secrets]
    return {
        "Content-Type": "application/json",
        "webhook-id": event_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


def _state(attempt: Attempt) -> str:
    if attempt.delivered:
        return "delivered"
    return "failed" if attempt.is_final else "retrying"


from_zero(WEBHOOK_TRIES, ("delivered", "retrying", "failed"))


def webhook_status(states: list[str]) -> str | None:
    """The state of all of a run's deliveries in the contract's words."""
    if not states:
        return None
    if "failed" in states:
        return "failed"
    if all(state == "delivered" for state in states):
        return "success"
    return "not-started" if all(state == "pending" for state in states) else "running"
