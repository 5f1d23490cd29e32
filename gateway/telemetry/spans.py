"""What OpenTelemetry is told: requests by Litestar's own instrumentation, and the parts of them."""

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import version
from typing import Any

import structlog
from litestar import Request
from litestar.enums import ScopeType
from litestar.plugins.opentelemetry import (
    OpenTelemetryConfig,
    OpenTelemetryInstrumentationMiddleware,
)
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send
from opentelemetry import context, propagate, trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.resources import (
    SERVICE_NAME,
    SERVICE_VERSION,
    OTELResourceDetector,
    Resource,
)
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.http import sanitize_method

from gateway.job import Event, Job
from gateway.telemetry.drawing import told
from gateway.telemetry.traces import LINKED_TO

NAME = "image-gateway"
PATH = "/v1/traces"
WHOLE = "whole"
"""In what is told of a request: the request."""

FLUSH_SECONDS = 3.0
"""At an end, for a collector that may have gone before."""

_propagator = TraceContextTextMapPropagator()
log = structlog.get_logger()


class Spans:
    """The spans of one application.

    They are sent by a thread of the SDK's own, which drops what a collector does not take: no
    request waits for it. Which are kept, how many wait and what the service is called say the
    standard variables.
    """

    def __init__(self, endpoint: str | None) -> None:
        own = Resource.create({SERVICE_NAME: NAME, SERVICE_VERSION: version(NAME)})
        named = own.merge(OTELResourceDetector().detect())
        self._provider = TracerProvider(resource=named, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(_exporter(endpoint)))
        self._tracer = self._provider.get_tracer(NAME, version(NAME))

    def around(self, app: ASGIApp, quiet: tuple[str, ...]) -> ASGIApp:
        """An application whose requests are spans; in theirs lies all that they bring about."""
        config = OpenTelemetryConfig(
            tracer_provider=self._provider,
            meter_provider=NoOpMeterProvider(),
            scope_span_details_extractor=_details,
            server_request_hook_handler=_link,
            exclude_spans=["receive", "send"],
        )

        async def inside(told: Scope, receive: Receive, send: Send) -> None:
            await app(told[WHOLE], receive, send)  # type: ignore[literal-required]

        traced = OpenTelemetryInstrumentationMiddleware(inside, config).open_telemetry_middleware

        async def passed(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != ScopeType.HTTP or scope["path"].startswith(quiet):
                await app(scope, receive, send)
                return
            # What follows on a connection was read in the context of what came before.
            before = context.attach(Context())
            try:
                await traced(_told(scope), receive, send)  # type: ignore[arg-type]
            finally:
                context.detach(before)

        return passed

    def name(self, request: Request[Any, Any, Any]) -> None:
        """Name the span of a request by its route: there are as many paths as runs."""
        route = request.scope["path_template"]
        span = trace.get_current_span()
        span.update_name(f"{request.method} {route}")
        span.set_attribute("http.route", route)

    @contextmanager
    def span(self, name: str, attributes: Mapping[str, str | int]) -> Iterator[None]:
        """A part of the work under way."""
        with self._tracer.start_as_current_span(name, attributes=_own(attributes)):
            yield

    def told(self, job: Job, events: AsyncGenerator[Event]) -> AsyncGenerator[Event]:
        """A job's events, noted in spans as they come."""
        return told(self._tracer, job, events)

    def current(self) -> str:
        """The span under way as `traceparent` has it, empty for none."""
        return _headers(trace.get_current_span()).get("traceparent", "")

    @contextmanager
    def again(
        self, trace_: str, name: str, attributes: Mapping[str, str | int], *, asks: bool
    ) -> Iterator[dict[str, str]]:
        """A part of an earlier trace, whatever is under way; of a new one where there was none."""
        parent = _propagator.extract({"traceparent": trace_}, Context())
        kind = SpanKind.CLIENT if asks else SpanKind.INTERNAL
        with self._tracer.start_as_current_span(
            name, parent, kind, attributes=_own(attributes)
        ) as span:
            yield _headers(span)

    def failed(self, why: str) -> None:
        """The part under way came to nothing."""
        trace.get_current_span().set_status(Status(StatusCode.ERROR, why))

    def ids(self) -> dict[str, str]:
        """Those of the span under way."""
        return _ids(trace.get_current_span())

    def exemplar(self) -> dict[str, str] | None:
        """The same, where it is kept."""
        span = trace.get_current_span()
        return _ids(span) if span.get_span_context().trace_flags.sampled else None

    async def close(self, seconds: float) -> None:
        """Send what is left, if the collector takes it in time."""
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def run() -> None:
            self._provider.shutdown()
            with suppress(RuntimeError):  # nobody waits any more
                loop.call_soon_threadsafe(done.set)

        threading.Thread(target=run, name="last-spans", daemon=True).start()
        with suppress(TimeoutError):
            async with asyncio.timeout(min(seconds, FLUSH_SECONDS)):
                await done.wait()


def _exporter(endpoint: str | None) -> SpanExporter:
    """One to the collector of the settings, or to that of the standard variables."""
    said = os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", "")
    if os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", said) == "grpc":
        log.warning("spans are sent over HTTP: the collector's port for that is 4318")
    return OTLPSpanExporter(endpoint=endpoint and endpoint.rstrip("/").removesuffix(PATH) + PATH)


def _told(scope: HTTPScope) -> dict[str, Any]:
    """What is told of a request: nothing of its query and headers, where secrets are, but who asks.

    What cannot be read as text, and would fail the instrumentation, is left out.
    """
    wanted = {b"host", b"user-agent", *map(str.encode, propagate.get_global_textmap().fields)}
    return {
        **{name: scope.get(name) for name in ("type", "http_version", "method", "scheme", "path")},
        "server": scope.get("server"),
        "query_string": b"",
        "headers": [one for one in scope["headers"] if one[0] in wanted and one[1].isascii()],
        "state": scope.get("state", {}),
        WHOLE: scope,
    }


def _details(scope: Any) -> tuple[str, dict[str, Any]]:
    """A span's name until its route is known, and what else is said of it."""
    return sanitize_method(str(scope["method"])), {}


def _link(span: Span, scope: Any) -> None:
    """Have a request from inside point to what it is on behalf of."""
    on_behalf_of = scope.get("state", {}).get(LINKED_TO, "")
    parent = trace.get_current_span(_propagator.extract({"traceparent": on_behalf_of}, Context()))
    if parent.get_span_context().is_valid:
        span.add_link(parent.get_span_context())


def _headers(span: Span) -> dict[str, str]:
    """What continues a span, and nothing of what other systems said to each other before it."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier, trace.set_span_in_context(span, Context()))
    carrier.pop("tracestate", None)
    return carrier


def _ids(span: Span) -> dict[str, str]:
    own = span.get_span_context()
    if not own.is_valid:
        return {}
    return {
        "trace_id": trace.format_trace_id(own.trace_id),
        "span_id": trace.format_span_id(own.span_id),
    }


def _own(attributes: Mapping[str, str | int]) -> dict[str, str | int]:
    """Attributes of no convention, under the gateway's own name."""
    return {f"gateway.{name}": value for name, value in attributes.items()}
