"""The ComfyDeploy API under `/api`: its routes, and what it does not offer."""

from typing import Any

from litestar import HttpMethod, Request, Router, route
from litestar.types import ControllerRouterHandler

from gateway.errors import NotFound, NotOffered
from gateway.web.comfydeploy import files, library
from gateway.web.comfydeploy import runs as run_routes
from gateway.web.comfydeploy.faults import PREFIX
from gateway.web.door.asking import Ask, Asking, given

AnyRequest = Request[Any, Any, Any]
ANY_METHOD = [HttpMethod.GET, HttpMethod.POST, HttpMethod.PUT, HttpMethod.PATCH, HttpMethod.DELETE]

NOT_OFFERED = {
    "websocket": "This gateway has no ComfyUI to open a websocket to; use /api/run/stream.",
    "session": "Interactive sessions of a ComfyUI are not offered; there is no ComfyUI here.",
    "sessions": "Interactive sessions of a ComfyUI are not offered; there is no ComfyUI here.",
    "machine": "There are no machines to build or start; pools are named in the settings.",
    "machine-endpoint": "There are no machines to build; pools are named in the settings.",
    "gpu_event": "GPUs are not billed here, so there are no GPU events to record.",
    "assets": "There is no asset browser; upload with /api/file/upload.",
    "search": "There is no model search; /api/models lists what is served.",
    "auth-response": "There is no browser login; keys are made with `gateway keys create`.",
    "update-run": "Runs are drawn here, so nobody else reports on them.",
    "file-upload": "Runs are drawn here, so nobody else uploads for them.",
    "v2/run": "Not offered; use /api/run/{run_id} and /api/run/{run_id}/stream.",
}


@route(
    [path for name in NOT_OFFERED for path in (f"/{name}", f"/{name}/{{rest:path}}")],
    http_method=ANY_METHOD,
    include_in_schema=False,
)
async def not_offered(request: AnyRequest, asker: Asking) -> None:
    """Say why a route of the hosted service is not here."""
    asked = request.scope["path"].partition("/api/")[2] + "/"
    raise NotOffered(next(why for name, why in NOT_OFFERED.items() if asked.startswith(f"{name}/")))


@route(["/", "/{rest:path}"], http_method=ANY_METHOD, include_in_schema=False)
async def unknown(request: AnyRequest, asker: Asking) -> None:
    """Answer for every other path in the dialect's own words."""
    raise NotFound(f"No route {request.method} {request.scope['path']}")


def comfydeploy_router(ask: Ask) -> Router:
    """The routes under `/api`; the application keeps its `Runs` in `state.runs`."""
    handlers: list[ControllerRouterHandler] = [
        *run_routes.ROUTES,
        *library.ROUTES,
        *files.ROUTES,
        not_offered,
        unknown,
    ]

    return Router(
        PREFIX,
        route_handlers=handlers,
        dependencies=given(ask),
        tags=["ComfyDeploy"],
    )
