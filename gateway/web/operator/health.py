"""Is it alive, is it ready, how is it doing."""

from typing import Any

import msgspec
from litestar import Response, get
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from gateway.engine.protocol import Engine
from gateway.web.door.schema import refusals


class Health(msgspec.Struct, frozen=True):
    """`status` is `ok`, or what is being waited for."""

    status: str


def routes(engine: Engine) -> list[Any]:
    """The route handlers; none of them asks for a key."""

    @get(["/health", "/health/live"], sync_to_thread=False, tags=["health"])
    def live() -> Health:
        """The process answers."""
        return Health("ok")

    @get("/health/ready", sync_to_thread=False, responses=refusals(), tags=["health"])
    def ready() -> Response[Health]:
        """Every preloaded endpoint has run one denoising step."""
        is_ready = engine.status().ready
        return Response(
            Health("ok" if is_ready else "loading"), status_code=200 if is_ready else 503
        )

    @get("/metrics", sync_to_thread=False, media_type="text/plain", tags=["health"])
    def metrics() -> Response[bytes]:
        """Prometheus' text format."""
        kind = CONTENT_TYPE_LATEST.partition("; charset")[0]  # the framework adds its own
        return Response(generate_latest(), media_type=kind)

    return [live, ready, metrics]
