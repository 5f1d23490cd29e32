"""A snapshot of this process for the operator's page."""

import time
from importlib.metadata import version
from typing import Any

import msgspec
from litestar import Request, get

from gateway.engine.protocol import EngineStatus
from gateway.telemetry.recent import RecentRequests, RequestSummary
from gateway.web.door.desk import Desk


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator's page shows: the engine now, its bounds, and the latest requests."""

    version: str
    uptime_seconds: float
    endpoints: list[str]
    max_batch: int
    max_waiting: int
    engine: EngineStatus
    recent: list[RequestSummary]


def routes(desk: Desk, recent: RecentRequests) -> list[Any]:
    """The snapshot, for those with a key."""
    started = time.monotonic()

    @get("/status.json", include_in_schema=False)
    async def snapshot(request: Request[Any, Any, Any]) -> Snapshot:
        """The state of this process, cheap enough to ask for every second."""
        desk.door.identify(request)
        return Snapshot(
            version=version("image-gateway"),
            uptime_seconds=time.monotonic() - started,
            endpoints=list(desk.catalog.endpoints),
            max_batch=desk.settings.max_batch,
            max_waiting=desk.settings.max_waiting,
            engine=desk.studio.engine.status(),
            recent=recent.latest(),
        )

    return [snapshot]
