"""ComfyUI's own API: the routes that its clients call, at the root and under `/api`."""

from litestar import Router

from gateway.web.comfyui import nodes, pictures, prompts, socket
from gateway.web.door.asking import Ask, given
from gateway.web.door.auth import Doorkeeper


def comfyui_router(ask: Ask, door: Doorkeeper) -> Router:
    """All of them; the application keeps its `Runs` in `state.runs`."""
    told = [*prompts.ROUTES, *nodes.ROUTES, *pictures.ROUTES]
    asked = Router("", route_handlers=told, dependencies=given(ask), tags=["ComfyUI"])
    return Router("", route_handlers=[asked, *socket.routes(door)])
