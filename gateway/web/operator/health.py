"""Is it alive, is it ready, how is it doing."""

from typing import Any

import msgspec
from litestar import Request, Response, get
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from gateway.engine.protocol import Engine
from gateway.web.door.auth import Doorkeeper
from gateway.web.door.schema import refusals


class Health(msgspec.Struct, frozen=True, omit_defaults=True):
    """`status` is `ok`, or what is being waited for; `warnings` are for the operator."""

    status: str
    warnings: list[str] = []


def routes(engine: Engine, door: Doorkeeper) -> list[Any]:
    """The route handlers; health asks for no key, whatever name it is called by."""

    @get(["/health", "/health/live"], sync_to_thread=False, tags=["health"])
    def live() -> Health:
        """The process answers."""
        return Health("ok")

    @get("/health/ready", sync_to_thread=False, responses=refusals(), tags=["health"])
    def ready() -> Response[Health]:
        """Every preloaded endpoint has run one denoising step, and somebody can be let in."""
        waits_for = [] if engine.status().ready else ["loading"]
        if not door.can_admit:
            waits_for.append("no API key")
        health = Health(", ".join(waits_for) or "ok", door.concerns())
        return Response(health, status_code=503 if waits_for else 200)

    @get("/metrics", media_type="text/plain", responses=refusals(), tags=["health"])
    async def metrics(request: Request[Any, Any, Any]) -> Response[bytes]:
        """Prometheus' text format, for an operator's key."""
        door.check_may_measure(request)
        kind = CONTENT_TYPE_LATEST.partition("; charset")[0]  # the framework adds its own
        return Response(generate_latest(), media_type=kind)

    return [live, ready, metrics]
