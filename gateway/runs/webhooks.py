"""Webhook deliveries: signed, in order per run, tried again for hours, every try written down."""

import asyncio
import base64
import hashlib
import hmac
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import msgspec
from standardwebhooks import Webhook

from gateway.accounts.keys import KeyStore
from gateway.errors import GatewayError
from gateway.images.store import SECRET_FILE, read_secret
from gateway.outages import patiently
from gateway.outside.outbound import Outbound
from gateway.runs.files import FileStore
from gateway.runs.records import Attempt, Run, WebhookEvent
from gateway.runs.store import RunStore
from gateway.runs.telling import webhook_body

WAITS_SECONDS = (0.5, 1, 5, 30, 120, 600, 1800, 3600, 7200, 10800)
"""Before each further try; together about seven hours. Up to a tenth is added at random."""

TIMEOUT_SECONDS = 20
GONE = 410
SecretOf = Callable[[str], str]
"""The `whsec_` secret that an owner's webhooks are signed with."""


def secret_of(owner: str, keys: KeyStore, data: Path) -> str:
    """The secret that an owner's webhooks are signed with: its key's, else the gateway's own."""
    key = keys.get(owner)
    return key.webhook_secret if key else gateway_secret(data)


def gateway_secret(data: Path) -> str:
    """The secret of runs that no key asked for."""
    secret = hmac.new(read_secret(data / SECRET_FILE), b"webhooks", hashlib.sha256)
    return "whsec_" + base64.b64encode(secret.digest()).decode()


def wait_seconds(attempt: int) -> float:
    """How long to wait at least after a failed try, the first being 1."""
    return WAITS_SECONDS[attempt - 1]


def spread(seconds: float) -> float:
    """A wait that is not everybody's."""
    return seconds * random.uniform(1, 1.1)


class Deliveries:
    """Sends events. When to send what again is for the durable workflow to say."""

    def __init__(
        self, store: RunStore, files: FileStore, outbound: Outbound, secret_of: SecretOf
    ) -> None:
        self.store = store
        self.files = files
        self.outbound = outbound
        self.secret_of = secret_of

    async def attempt(self, event: WebhookEvent, run: Run, number: int) -> Attempt:
        """Try once to deliver an event, and write down how it went."""
        assert run.order.webhook is not None
        started = time.monotonic()
        status, fault = await self._post(event, run, run.order.webhook)
        seconds = time.monotonic() - started
        is_final = fault is None or status == GONE or number > len(WAITS_SECONDS)
        attempt = Attempt(event.id, number, time.time(), seconds, status, fault, is_final)
        record = partial(self.store.record_attempt, event, attempt, _state(attempt))
        await patiently(lambda: asyncio.to_thread(record), "database")
        return attempt

    async def _post(self, event: WebhookEvent, run: Run, url: str) -> tuple[int | None, str | None]:
        body = msgspec.json.encode(webhook_body(event, run.order.base_url, self.files))
        headers = signed_headers(self.secret_of(run.owner), event.id, body)
        try:
            status = await self.outbound.post(url, run.owner, body, headers, TIMEOUT_SECONDS)
        except GatewayError as error:
            return None, error.message
        return status, None if 200 <= status < 300 else f"answered {status}"


def signed_headers(secret: str, event_id: str, body: bytes) -> dict[str, str]:
    """Standard Webhooks headers: the id stays the same for every try, the time does not."""
    now = datetime.now(UTC)
    return {
        "Content-Type": "application/json",
        "webhook-id": event_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign(event_id, now, body.decode()),
    }


def _state(attempt: Attempt) -> str:
    if attempt.delivered:
        return "delivered"
    return "failed" if attempt.is_final else "retrying"


def webhook_status(states: list[str]) -> str | None:
    """The state of all of a run's deliveries in the contract's words."""
    if not states:
        return None
    if "failed" in states:
        return "failed"
    if all(state == "delivered" for state in states):
        return "success"
    return "not-started" if all(state == "pending" for state in states) else "running"
