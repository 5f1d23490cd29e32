"""Is it alive, is it ready, how is it doing."""

from collections.abc import Callable
from typing import Any

import msgspec
from litestar import Request, Response, get
from prometheus_client.exposition import choose_encoder

from gateway.telemetry.vitals import OK, Health, Vitals
from gateway.web.door.answers.schema import refusals
from gateway.web.door.auth import Doorkeeper


class Life(msgspec.Struct, frozen=True):
    """`status` is `ok`."""

    status: str = OK


def routes(vitals: Vitals, door: Doorkeeper, measured: Any) -> list[Any]:
    """The route handlers; health asks for no key, whatever name it is called by.

    `measured` is a registry of metrics, or what collects as one does.
    """

    async def found() -> Health:
        return msgspec.structs.replace(await vitals.health(), warnings=tuple(door.concerns()))

    @get("/health/live", sync_to_thread=False, tags=["health"])
    def live() -> Life:
        """The process answers."""
        return Life()

    @get("/health", tags=["health"])
    async def health() -> Health:
        """How the process stands and each thing that it needs; 200 whatever it says."""
        return await found()

    @get("/health/ready", responses=refusals(), tags=["health"])
    async def ready() -> Response[Health]:
        """A picture can be drawn: endpoints to preload are warm, and somebody can be let in."""
        health = await found()
        return Response(health, status_code=200 if health.is_ready else 503)

    @get("/metrics", media_type="text/plain", responses=refusals(), tags=["health"])
    async def metrics(request: Request[Any, Any, Any]) -> Response[bytes]:
        """Prometheus' text format, or OpenMetrics for who takes it; for an operator's key."""
        door.check_may_measure(request)
        await vitals.health()
        encode, kind = _format(request.headers.get("accept", ""))
        return Response(encode(measured), headers={"content-type": kind})

    return [live, health, ready, metrics]


def _format(accept: str) -> tuple[Callable[[Any], bytes], str]:
    """How metrics are written for who takes what, and its content type."""
    try:
        return choose_encoder(accept)
    except (TypeError, ValueError):  # of versions that are none
        return choose_encoder("")
