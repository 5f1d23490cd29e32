"""One line per request: its id, its time, its outcome, in the headers, the log and the metrics."""

import re
import time
from typing import Any
from uuid import uuid4

import structlog
from litestar.datastructures import Headers, MutableScopeHeaders
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from gateway.telemetry import metrics, traces
from gateway.telemetry.recent import RecentRequests

log = structlog.get_logger()
_GIVEN_ID = re.compile(r"[\x21-\x7e]{1,128}")
QUIET = ("/health", "/metrics", "/status.json")
"""Paths that pollers ask for every second or so."""


def note(scope: Scope, **facts: Any) -> None:
    """Remember something about the request for its log line."""
    scope.setdefault("state", {}).setdefault("facts", {}).update(facts)


class Ledger:
    """The outermost middleware; it sees every response, whoever made it."""

    def __init__(self, app: ASGIApp, recent: RecentRequests) -> None:
        self.app = app
        self.recent = recent

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Number, time and record a request."""
        if scope["type"] != ScopeType.HTTP:
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        given = Headers.from_scope(scope).get("x-request-id", "")
        request_id = given if _GIVEN_ID.fullmatch(given) else f"req_{uuid4().hex}"
        structlog.contextvars.bind_contextvars(request_id=request_id)
        note(scope, request_id=request_id)
        status = 499

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableScopeHeaders.from_message(message)
                headers["x-request-id"] = request_id
                elapsed = (time.perf_counter() - began) * 1000
                headers["openai-processing-ms"] = str(round(elapsed))
                headers["openai-version"] = "2020-10-01"
            await send(message)

        try:
            await self.app(scope, receive, sending)
        finally:
            seconds = time.perf_counter() - began
            _record(scope, status, seconds)
            self.recent.add(scope, status, time.time() - seconds, seconds)
            structlog.contextvars.unbind_contextvars("request_id")


def _record(scope: HTTPScope, status: int, seconds: float) -> None:
    facts = dict(scope.get("state", {}).get("facts", {}))
    facts.pop("request_id", None)
    path = scope["path"]
    for code in facts.get("warnings", ()):
        metrics.WARNINGS.labels(code).inc()
    # The route's template and not the path: what clients make up must not name metrics.
    route = str(scope.get("path_template") or "unknown")
    model = str(facts.get("model", ""))
    metrics.REQUESTS.labels(route, model, str(status)).inc()
    metrics.REQUEST_SECONDS.labels(route, model).observe(seconds, traces.exemplar())
    if not path.startswith(QUIET):
        log.info(
            "request",
            method=scope["method"],
            path=path,
            status=status,
            milliseconds=round(seconds * 1000, 1),
            **facts,
        )
