"""Webhook endpoints from the outside: set up, changed, tried, and told of batches."""

import base64
import secrets
import time
from typing import Any

import msgspec

from gateway.errors import GatewayError, InvalidRequest, NotFound
from gateway.outside.outbound import Outbound
from gateway.runs.durable.ground import Ground
from gateway.runs.hooks.events import Events
from gateway.runs.hooks.records import EVENT_PREFIX, HOOK_PREFIX, BatchEvent, BatchNews, Hook
from gateway.runs.hooks.store import HookStore
from gateway.runs.hooks.webhooks import TIMEOUT_SECONDS, Deliveries, Letter, signed_headers

OLD_SECRET_SECONDS = 24 * 3600


class Hooks:
    """The one object that the web layer knows of webhook endpoints."""

    def __init__(
        self, store: HookStore, events: Events[BatchEvent], outbound: Outbound, ground: Ground
    ) -> None:
        self.store = store
        self.events = events
        self.outbound = outbound
        self.ground = ground
        self.deliveries = Deliveries(events, outbound, ground, self._letter)

    async def create(
        self, owner: str, name: str, url: str, event_types: tuple[BatchNews, ...]
    ) -> Hook:
        """Set an endpoint up, with a secret of its own.

        Raises:
            UrlRefused: its URL may not be asked.
            InvalidRequest: its owner has as many as it may.
        """
        self.outbound.guard.check_url(url)
        now = time.time()
        hook = Hook(
            id=HOOK_PREFIX + secrets.token_hex(12),
            owner=owner,
            name=name,
            url=url,
            event_types=event_types,
            secret=_new_secret(),
            created_at=now,
            updated_at=now,
        )
        await self.ground.ask(self.store.add, hook)
        return hook

    async def get(self, hook_id: str, owner: str) -> Hook:
        """An endpoint.

        Raises:
            NotFound: the owner has no such.
        """
        return _found(await self.ground.ask(self.store.get, hook_id, owner), hook_id)

    async def page(self, owner: str, *, after: str | None, limit: int) -> tuple[list[Hook], bool]:
        """A page of an owner's endpoints, newest first, and whether there are more."""
        return await self.ground.ask(self.store.page, owner, after=after, limit=limit)

    async def change(self, hook_id: str, owner: str, **values: Any) -> Hook:
        """Change an endpoint's name, URL or events.

        Raises:
            NotFound: the owner has no such.
            UrlRefused: the URL may not be asked.
        """
        if "url" in values:
            self.outbound.guard.check_url(values["url"])
        return _found(await self.ground.ask(self.store.change, hook_id, owner, **values), hook_id)

    async def rotate(self, hook_id: str, owner: str, *, keeps_old: bool) -> Hook:
        """Give an endpoint a new secret; the old one signs beside it for a day, or not at all.

        Raises:
            NotFound: the owner has no such.
        """
        hook = await self.get(hook_id, owner)
        until = self.ground.calendar.now() + OLD_SECRET_SECONDS
        old = {"old_secret": hook.secret, "old_until": until} if keeps_old else {"old_secret": None}
        changed = await self.ground.ask(
            self.store.change, hook_id, owner, secret=_new_secret(), **old
        )
        return _found(changed, hook_id)

    async def delete(self, hook_id: str, owner: str) -> None:
        """Forget an endpoint; what it is still owed is not sent.

        Raises:
            NotFound: the owner has no such.
        """
        if not await self.ground.ask(self.store.delete, hook_id, owner):
            raise _missing(hook_id)

    async def try_out(self, hook_id: str, owner: str, kind: BatchNews) -> int:
        """Send an endpoint an event about no batch; the status that it answers.

        Raises:
            NotFound: the owner has no such.
            InvalidRequest: it does not answer.
        """
        hook = await self.get(hook_id, owner)
        id = EVENT_PREFIX + secrets.token_hex(12)
        event = BatchEvent(
            id=id, batch_id="batch_test", hook_id=hook.id, kind=kind, at=time.time()
        )
        letter = self._written(event, hook)
        headers = signed_headers(letter.secrets, id, letter.body)
        try:
            return await self.outbound.post(
                hook.url, owner, letter.body, headers, TIMEOUT_SECONDS
            )
        except GatewayError as error:
            raise InvalidRequest(
                f"The webhook endpoint did not answer: {error.message}",
                code="webhook_endpoint_unreachable",
            ) from None

    async def _letter(self, event: BatchEvent) -> Letter | None:
        hook = await self.ground.patiently(self.store.get, event.hook_id)
        return self._written(event, hook) if hook else None

    def _written(self, event: BatchEvent, hook: Hook) -> Letter:
        body = {
            "id": event.id,
            "object": "event",
            "created_at": int(event.at),
            "type": event.kind,
            "data": {"id": event.batch_id},
        }
        signing = hook.secrets(self.ground.calendar.now())
        return Letter(hook.url, hook.owner, signing, msgspec.json.encode(body), event.trace)


def _new_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()


def _found(hook: Hook | None, hook_id: str) -> Hook:
    if hook is None:
        raise _missing(hook_id)
    return hook


def _missing(hook_id: str) -> NotFound:
    return NotFound(f"No webhook endpoint found with id '{hook_id}'.", param="webhook_endpoint_id")
