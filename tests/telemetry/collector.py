"""A real OTLP receiver on loopback, in a thread of its own: what traces are sent to."""

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from gzip import decompress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

WAIT_SECONDS = 60


class Told(NamedTuple):
    """A span as it came; times are nanoseconds since the epoch."""

    name: str
    trace: str
    id: str
    parent: str
    kind: int
    began: int
    ended: int
    attributes: dict[str, Any]
    has_failed: bool
    events: list[tuple[str, int]]
    links: list[str]
    service: str


class Collector:
    """Keeps spans in the order in which they came."""

    def __init__(self) -> None:
        self.url = ""
        self.spans: list[Told] = []
        self._came = threading.Condition()

    def take(self, body: bytes) -> None:
        """Note an export."""
        found = []
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            named = _values(resource.resource.attributes)
            for scope in resource.scope_spans:
                found += [_told(span, str(named["service.name"])) for span in scope.spans]
        with self._came:
            self.spans += found
            self._came.notify_all()

    def of(self, trace: str) -> list[Told]:
        """The spans of a trace, in the order in which they began."""
        return sorted((one for one in self.spans if one.trace == trace), key=lambda one: one.began)

    def named(self, trace: str, name: str) -> list[Told]:
        """Those of a trace that go by a name."""
        return [one for one in self.of(trace) if one.name == name]

    def wait_for(self, trace: str, name: str, num_spans: int = 1) -> list[Told]:
        """As many spans of a trace by a name, once they have come."""
        return self._wait(trace, lambda one: one.name == name, num_spans, name)

    def parent_of(self, span: Told) -> Told:
        """The span that one lies in, once it has come: it ends later."""
        (parent,) = self._wait(span.trace, lambda one: one.id == span.parent, 1, "its parent")
        return parent

    def _wait(
        self, trace: str, is_wanted: Callable[[Told], bool], num_spans: int, what: str
    ) -> list[Told]:
        deadline = time.monotonic() + WAIT_SECONDS
        with self._came:
            while len(found := [one for one in self.of(trace) if is_wanted(one)]) < num_spans:
                left = deadline - time.monotonic()
                there = [(one.name, one.attributes) for one in self.of(trace)]
                assert self._came.wait(max(0.0, left)), f"no {num_spans} of {what}: {there}"
        return found


def _told(span: Any, service: str) -> Told:
    return Told(
        name=span.name,
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        kind=span.kind,
        began=span.start_time_unix_nano,
        ended=span.end_time_unix_nano,
        attributes=_values(span.attributes),
        has_failed=span.status.code == 2,
        events=[(event.name, event.time_unix_nano) for event in span.events],
        links=[link.trace_id.hex() for link in span.links],
        service=service,
    )


def _values(attributes: Any) -> dict[str, Any]:
    return {one.key: _value(one.value) for one in attributes}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(one) for one in value.array_value.values]
    return getattr(value, kind) if kind else None


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector for as long as the block lasts."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            assert self.path == "/v1/traces"
            if self.headers.get("content-encoding") == "gzip":
                body = decompress(body)
            collector.take(body)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def new_trace() -> tuple[str, dict[str, str]]:
    """A trace that a client has begun, and the header that says so."""
    trace = secrets.token_hex(16)
    return trace, {"traceparent": f"00-{trace}-{secrets.token_hex(8)}-01"}
