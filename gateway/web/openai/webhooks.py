"""OpenAI's webhook endpoints: where a key's news go, which its SDKs' `webhooks.unwrap` reads."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal, Self, get_args

import msgspec
from litestar import Request, delete, get, post
from litestar.params import FromPath, FromQuery
from msgspec import Meta

from gateway.errors import InvalidValue
from gateway.outside.guard import UrlRefused
from gateway.outside.values import convert
from gateway.runs.hooks.records import BatchNews, Hook
from gateway.web.door.answers.schema import documented, refusals
from gateway.web.door.bodies.bodies import read_json, read_json_or_none
from gateway.web.door.desk import Desk
from gateway.web.openai.files import ends, page_size, runs_of

AnyRequest = Request[Any, Any, Any]
ROUTE = "/v1/webhook_endpoints"
NEWS: tuple[BatchNews, ...] = get_args(BatchNews)
MAX_PAGE = 100
HINT_CHARACTERS = 4

Name = Annotated[str, Meta(min_length=1, max_length=256)]
Url = Annotated[str, Meta(min_length=1, max_length=2048)]
EventTypes = Annotated[list[str], Meta(min_length=1, max_length=64)]


class EndpointBody(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /v1/webhook_endpoints`."""

    name: Name
    url: Url
    event_types: EventTypes


class EndpointChange(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /v1/webhook_endpoints/{id}`; what is absent stays as it is."""

    name: Name | None = None
    url: Url | None = None
    event_types: EventTypes | None = None


class Rotation(msgspec.Struct, frozen=True):
    """`POST /v1/webhook_endpoints/{id}/rotate_secret`."""

    keep_old_secret_active_for_24_hours: bool = False


class Trial(msgspec.Struct, frozen=True):
    """`POST /v1/webhook_endpoints/{id}/test`."""

    event_type: str


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint; times are whole seconds since the epoch."""

    id: str
    object: Literal["webhook_endpoint"] = "webhook_endpoint"
    name: str
    url: str
    event_types: tuple[str, ...]
    created_at: int
    updated_at: int
    signing_secret_hint: str

    @classmethod
    def of(cls, hook: Hook, **more: Any) -> Self:
        """The wire form of an endpoint."""
        return cls(
            id=hook.id,
            name=hook.name,
            url=hook.url,
            event_types=hook.event_types,
            created_at=int(hook.created_at),
            updated_at=int(hook.updated_at),
            signing_secret_hint=f"whsec_***{hook.secret[-HINT_CHARACTERS:]}",
            **more,
        )


class EndpointWithSecret(Endpoint, frozen=True, kw_only=True):
    """The same with the secret that signs, which is told but when it is new."""

    signing_secret: str


class EndpointList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of endpoints."""

    data: list[Endpoint]
    has_more: bool
    first_id: str | None
    last_id: str | None
    object: Literal["list"] = "list"


class EndpointDeleted(msgspec.Struct, frozen=True):
    """What remains of a deleted endpoint."""

    id: str
    object: Literal["webhook_endpoint.deleted"] = "webhook_endpoint.deleted"
    deleted: bool = True


class TrialResult(msgspec.Struct, frozen=True, kw_only=True):
    """What an endpoint answered to an event that was made up."""

    webhook_endpoint_id: str
    event_type: str
    status_code: int
    object: Literal["webhook_endpoint.test"] = "webhook_endpoint.test"
    success: bool = True


class EventTypeList(msgspec.Struct, frozen=True):
    """What there are news of."""

    data: tuple[str, ...] = NEWS
    object: Literal["list"] = "list"


def routes(desk: Desk) -> list[Any]:
    """The route handlers."""

    @post(
        ROUTE,
        status_code=200,
        operation_class=documented(EndpointBody, EndpointWithSecret),
        tags=["webhooks"],
    )
    async def create_endpoint(request: AnyRequest) -> EndpointWithSecret:
        """Have a URL told when your batches end; the answer has the secret that signs."""
        caller = await desk.admit(request)
        body = convert(await read_json(request), EndpointBody)
        news = _news(body.event_types)
        with _naming_the_url():
            hook = await runs_of(request).hooks.create(caller.id, body.name, body.url, news)
        return _with_secret(hook)

    @get(ROUTE, responses=refusals(), tags=["webhooks"])
    async def list_endpoints(
        request: AnyRequest,
        after: FromQuery[str | None] = None,
        limit: FromQuery[int] = 20,
    ) -> EndpointList:
        """Your endpoints, newest first."""
        caller = desk.door.identify(request)
        size = page_size(limit, MAX_PAGE)
        found, has_more = await runs_of(request).hooks.page(caller.id, after=after, limit=size)
        first, last = ends(hook.id for hook in found)
        data = [Endpoint.of(hook) for hook in found]
        return EndpointList(data=data, has_more=has_more, first_id=first, last_id=last)

    @get(f"{ROUTE}/{{endpoint_id:str}}", responses=refusals(404), tags=["webhooks"])
    async def get_endpoint(request: AnyRequest, endpoint_id: FromPath[str]) -> Endpoint:
        """An endpoint."""
        caller = desk.door.identify(request)
        return Endpoint.of(await runs_of(request).hooks.get(endpoint_id, caller.id))

    @post(
        f"{ROUTE}/{{endpoint_id:str}}",
        status_code=200,
        operation_class=documented(EndpointChange, Endpoint),
        tags=["webhooks"],
    )
    async def update_endpoint(request: AnyRequest, endpoint_id: FromPath[str]) -> Endpoint:
        """Change an endpoint's name, URL or events."""
        caller = await desk.admit(request)
        body = convert(await read_json(request), EndpointChange)
        given = {name: value for name, value in msgspec.structs.asdict(body).items() if value}
        if body.event_types:
            given["event_types"] = _news(body.event_types)
        with _naming_the_url():
            hook = await runs_of(request).hooks.change(endpoint_id, caller.id, **given)
        return Endpoint.of(hook)

    @delete(
        f"{ROUTE}/{{endpoint_id:str}}", status_code=200, responses=refusals(404), tags=["webhooks"]
    )
    async def delete_endpoint(request: AnyRequest, endpoint_id: FromPath[str]) -> EndpointDeleted:
        """Forget an endpoint; it is told nothing more."""
        caller = await desk.admit(request)
        await runs_of(request).hooks.delete(endpoint_id, caller.id)
        return EndpointDeleted(endpoint_id)

    @post(
        f"{ROUTE}/{{endpoint_id:str}}/rotate_secret",
        status_code=200,
        operation_class=documented(Rotation, EndpointWithSecret),
        tags=["webhooks"],
    )
    async def rotate_secret(
        request: AnyRequest, endpoint_id: FromPath[str]
    ) -> EndpointWithSecret:
        """Sign by a new secret; the old one may sign beside it for a day."""
        caller = await desk.admit(request)
        body = convert(await read_json_or_none(request) or {}, Rotation)
        keeps_old = body.keep_old_secret_active_for_24_hours
        hooks = runs_of(request).hooks
        return _with_secret(await hooks.rotate(endpoint_id, caller.id, keeps_old=keeps_old))

    @post(
        f"{ROUTE}/{{endpoint_id:str}}/test",
        status_code=200,
        operation_class=documented(Trial, TrialResult),
        tags=["webhooks"],
    )
    async def test_endpoint(request: AnyRequest, endpoint_id: FromPath[str]) -> TrialResult:
        """Send an endpoint an event that is made up."""
        caller = await desk.admit(request)
        (kind,) = _news([convert(await read_json(request), Trial).event_type], "event_type")
        status = await runs_of(request).hooks.try_out(endpoint_id, caller.id, kind)
        return TrialResult(webhook_endpoint_id=endpoint_id, event_type=kind, status_code=status)

    @get("/v1/webhook_event_types", responses=refusals(), tags=["webhooks"])
    async def list_event_types(request: AnyRequest) -> EventTypeList:
        """What endpoints can be told of."""
        desk.door.identify(request)
        return EventTypeList()

    return [
        create_endpoint,
        list_endpoints,
        get_endpoint,
        update_endpoint,
        delete_endpoint,
        rotate_secret,
        test_endpoint,
        list_event_types,
    ]


def _news(names: list[str], param: str = "event_types") -> tuple[BatchNews, ...]:
    """Kinds of events, each but once.

    Raises:
        InvalidValue: nothing of such a kind ever happens here.
    """
    for name in names:
        if name not in NEWS:
            raise InvalidValue(param, name, ", ".join(f"'{one}'" for one in NEWS))
    return tuple(kind for kind in NEWS if kind in names)


def _with_secret(hook: Hook) -> EndpointWithSecret:
    return EndpointWithSecret.of(hook, signing_secret=hook.secret)


@contextmanager
def _naming_the_url() -> Iterator[None]:
    """Say of which field a URL is that is refused."""
    try:
        yield
    except UrlRefused as error:
        error.param = "url"
        raise
