"""Where a dialect's request becomes pictures: admit the caller, draw, wait as long as it takes."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing
from typing import Any

import msgspec
from litestar import Response
from msgspec import UNSET, UnsetType

from gateway.accounts.limits import Caller
from gateway.catalog.catalog import Catalog, Model
from gateway.errors import InvalidValue, NotStored
from gateway.images.darkroom import Darkroom
from gateway.images.store import PictureStore
from gateway.intake import Terms
from gateway.job import Job, StepDone
from gateway.outside.outbound import Outbound
from gateway.outside.spelling import decimal, is_absent
from gateway.remarks import Remark, codes, once
from gateway.settings import Settings
from gateway.studio import Picture, PreviewPicture, Rendering, Studio
from gateway.web.door.addresses import public_base
from gateway.web.door.answers.content import Content
from gateway.web.door.answers.patience import HeartbeatResponse, wait_for
from gateway.web.door.auth import Doorkeeper
from gateway.web.door.bodies.bodies import Asked, is_remembered, remembered
from gateway.web.door.flights import Flights
from gateway.web.door.ledger import note
from gateway.web.door.preparing import HEADER as WAITING_HEADER
from gateway.web.door.preparing import preparing
from gateway.web.door.underway import UnderWay

Respond = Callable[[list[Picture]], Awaitable[Content]]
IDEMPOTENCY_HEADER = "idempotency-key"
TIMEOUT_HEADER = "X-Request-Timeout"
WARNINGS_HEADER = "x-warnings"
LINGER_SECONDS = 2.0
"""How long work outlives a client that is known to try again: the SDKs' first backoff."""


class Desk:
    """What every dialect of the images API shares."""

    def __init__(
        self,
        studio: Studio,
        store: PictureStore,
        door: Doorkeeper,
        settings: Settings,
        outbound: Outbound,
    ) -> None:
        self.studio = studio
        self.store = store
        self.door = door
        self.settings = settings
        self.outbound = outbound
        """Fetches pictures that requests name by URL."""
        self.under_way = UnderWay()
        self._flights: Flights[list[Picture]] = Flights()

    @property
    def catalog(self) -> Catalog:
        """What can be asked for."""
        return self.studio.catalog

    @property
    def darkroom(self) -> Darkroom:
        """Where pictures that clients send are worked on."""
        return self.studio.darkroom

    async def admit(self, request: Asked) -> Caller:
        """Who asks; counts towards the key's requests per minute."""
        return await self.door.admit(request)

    def resolve(self, model_id: str | None, caller: Caller) -> Model:
        """The model an id means, the default one for none.

        Raises:
            ModelNotFound: no such model.
            Forbidden: the key may not use it.
        """
        catalog = self.catalog
        model = catalog.resolve(model_id) if model_id else Model(catalog.default)
        caller.check_may_use(model)
        return model

    def terms(
        self,
        request: Asked,
        caller: Caller,
        remarks: tuple[Remark, ...] = (),
        *,
        clamp_steps: bool = False,
    ) -> Terms:
        """On what terms a caller's request is taken; `remarks` are those on its fields.

        Raises:
            InvalidValue: `X-Request-Timeout` is not a number of seconds.
        """
        return Terms(
            owner=caller.id,
            priority=caller.priority,
            clamp_steps=clamp_steps,
            timeout_seconds=_timeout_seconds(request),
            remarks=remarks,
            luck=_luck(request, caller),
        )

    async def answer(
        self,
        request: Asked,
        caller: Caller,
        job: Job,
        rendering: Rendering,
        respond: Respond,
        headers: dict[str, str],
    ) -> Response[Any]:
        """Draw a job and answer with what `respond` makes of the pictures.

        A client that waits long for JSON is sent signs of life, which would spoil a
        picture's bytes; one that leaves cancels the work. Who named a deadline waits until
        then, and a batch waits for anything: their answers keep their status to the end.
        """
        is_json = "content-type" not in headers
        is_patient = job.deadline is not None or caller.priority == "batch"
        patience = self.settings.heartbeat_seconds if is_json and not is_patient else None
        self.log_job(request, job)
        claiming = self.claiming(request, caller, job)
        async with AsyncExitStack() as held:
            work = await held.enter_async_context(
                self._flights.aboard(
                    claiming.claim,
                    lambda: self._draw(request, caller, claiming, rendering),
                    is_retry=_is_retry(request) or remembered(request).names_its_seed,
                    linger_seconds=LINGER_SECONDS if _tries_again(request) else 0.0,
                )
            )
            body = asyncio.create_task(_body(request, work, respond))
            held.callback(body.cancel)
            if await wait_for(request, body, patience):
                return body.result().response(headers | warning_headers(warnings_of(work.result())))
            if waited_for := self.preparing(job):
                headers = headers | {WAITING_HEADER: waited_for}
            return HeartbeatResponse(body, held.pop_all(), self.settings.heartbeat_seconds, headers)

    def preparing(self, job: Job) -> str | None:
        """What a job waits for before its first step, in words; see `preparing.preparing`."""
        return preparing(self.studio.engine, job)

    async def keep(self, request: Asked, picture: Picture) -> str:
        """Store a picture and return its absolute, signed URL.

        Raises:
            NotStored: there is none; drawing it again would not help.
        """
        assert picture.format != "raw"
        try:
            name = await self.store.put(picture.data, picture.format)
        except NotStored as error:
            fault = f"There is no URL, but bytes can be asked for. {error.message}"
            raise NotStored(fault) from error
        return public_base(request, self.settings) + self.store.url_path(name)

    async def try_keep(self, request: Asked, picture: Picture) -> str | UnsetType:
        """The URL of a picture that the answer carries anyway, where the store takes it."""
        try:
            return await self.keep(request, picture)
        except NotStored:
            return UNSET  # logged, counted in the store's health, and nobody's loss

    def claiming(self, request: Asked, caller: Caller, job: Job) -> Job:
        """The same job, by which its client is known again if it is refused and comes back."""
        return msgspec.structs.replace(job, claim=_flight_key(request, caller))

    def let_in(
        self, request: Asked, caller: Caller, job: Job
    ) -> AbstractAsyncContextManager[None]:
        """Hold a key's samples while a job is streamed; entering it raises what refuses them."""
        self.log_job(request, job)
        return self.door.limits.permit(caller, len(job.seeds), job.claim)

    async def stream(
        self, request: Asked, job: Job, rendering: Rendering
    ) -> AsyncGenerator[Picture | PreviewPicture | StepDone]:
        """Draw a job that was let in and yield what comes; closing it cancels the work."""
        async with aclosing(self.studio.draw(job, rendering)) as drawn:
            pictures: list[Picture] = []
            async for item in drawn:
                if isinstance(item, Picture):
                    pictures.append(item)
                    note_warnings(request, pictures)
                yield item

    def log_job(self, request: Asked, job: Job) -> None:
        """Put the facts of a job into the request's log line."""
        facts: dict[str, Any] = {
            "model": job.model_id,
            "seed": job.seeds[0],
            "steps": job.num_inference_steps,
            "n": len(job.seeds),
        }
        if self.settings.log_prompts:
            facts["prompt"] = job.prompt
        note(request.scope, **facts)

    async def _draw(
        self, request: Asked, caller: Caller, job: Job, rendering: Rendering
    ) -> list[Picture]:
        async with self.door.limits.permit(caller, len(job.seeds), job.claim):
            with self.under_way.begun(job, request.scope["path"]) as drawing:
                async with aclosing(self.studio.draw(job, rendering)) as drawn:
                    return await drawing.watch(drawn)


def _timeout_seconds(request: Asked) -> float | None:
    """How long the client says it waits, in `X-Request-Timeout`."""
    text = request.headers.get(TIMEOUT_HEADER)
    if is_absent(text):
        return None
    try:
        seconds = decimal(text)
    except ValueError:
        seconds = 0.0
    if seconds <= 0:
        raise InvalidValue(TIMEOUT_HEADER, text, "seconds above 0")
    return seconds


async def _body(request: Asked, work: "asyncio.Task[list[Picture]]", respond: Respond) -> Content:
    pictures = await asyncio.shield(work)
    note_warnings(request, pictures)
    return await respond(pictures)


def warnings_of(pictures: list[Picture]) -> tuple[Remark, ...]:
    """What is told with pictures, once each."""
    return once(remark for picture in pictures for remark in picture.remarks)


def warning_headers(remarks: Iterable[Remark]) -> dict[str, str]:
    """Their kinds, for answers that are a picture's bytes and for whoever looks there first."""
    kinds = codes(remarks)
    return {WARNINGS_HEADER: ", ".join(kinds)} if kinds else {}


def note_warnings(request: Asked, pictures: list[Picture]) -> None:
    """Put their kinds into the request's log line and the metrics."""
    if kinds := codes(warnings_of(pictures)):
        note(request.scope, warnings=kinds)


def _flight_key(request: Asked, caller: Caller) -> str:
    """Who asks for what, to the byte."""
    named = request.headers.get(IDEMPOTENCY_HEADER, "")
    accepted = request.headers.get("accept", "")
    return "\n".join(
        (caller.id, request.scope["path"], accepted, named, remembered(request).digest)
    )


def _luck(request: Asked, caller: Caller) -> int | None:
    """The seed of a request with an `Idempotency-Key`: the same again, at whichever front."""
    if not request.headers.get(IDEMPOTENCY_HEADER) or not is_remembered(request):
        return None
    digest = hashlib.sha256(_flight_key(request, caller).encode()).digest()
    return int.from_bytes(digest[:4])


def _is_retry(request: Asked) -> bool:
    count = request.headers.get("x-stainless-retry-count", "0")
    return count not in ("", "0") or IDEMPOTENCY_HEADER in request.headers


def _tries_again(request: Asked) -> bool:
    agent = request.headers.get("user-agent", "")
    return agent.startswith("speakeasy-sdk/") or "x-stainless-lang" in request.headers
