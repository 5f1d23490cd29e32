"""The Comfy API v2 under `/api/v2`: its routes, and that there are no others."""

from litestar import HttpMethod, Router, get, route
from litestar.di import Provide

from gateway.errors import NotFound
from gateway.web.comfyapi import assets, jobs
from gateway.web.comfyapi.events import Streams
from gateway.web.comfyapi.faults import PREFIX
from gateway.web.door.asking import AnyRequest, Ask, Asking, given
from gateway.web.operator.health import Life

ANY_METHOD = [HttpMethod.GET, HttpMethod.POST, HttpMethod.PUT, HttpMethod.PATCH, HttpMethod.DELETE]


@get("/health", sync_to_thread=False)
def health() -> Life:
    """The process answers."""
    return Life()


@route(["/", "/{rest:path}"], http_method=ANY_METHOD, include_in_schema=False)
async def unknown(request: AnyRequest, asker: Asking) -> None:
    """Answer for every other path in the dialect's own words."""
    raise NotFound(f"No route {request.method} {request.scope['path']}")


def comfyapi_router(ask: Ask) -> Router:
    """The routes under `/api/v2`."""
    streams = Streams()
    return Router(
        PREFIX,
        route_handlers=[*jobs.ROUTES, *assets.ROUTES, health, unknown],
        dependencies={
            **given(ask),
            "watching": Provide(lambda: streams, sync_to_thread=False),
        },
        tags=["Comfy API v2"],
    )
