"""Connections that are bounded: in number, in silence and in patience with slow peers.

uvicorn's protocol parses and answers; this one keeps its own time beside it. A peer has
`head_seconds` for a request's head. While it sends a body or takes an answer it has to keep
a pace. What waits longest for a whole request makes room when there are too many.
"""

import asyncio
import sys
import time
from collections.abc import Callable
from typing import Any

import h11
import msgspec
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol

from gateway.errors import GatewayError, InvalidRequest, TooSlow
from gateway.settings import Settings
from gateway.telemetry import metrics
from gateway.web.door.answers.envelope import envelope
from gateway.web.server.pace import Pace
from gateway.web.server.parser import EMPTY_LINES, Parser
from gateway.web.server.peers import PEERS
from gateway.web.server.sockets import Socket

MAX_HEAD_BYTES = 64 * 1024
TURN_BYTES = 4096
"""Of a head, or of a body in chunks, parsed at once: there may be a thousand chunks in them."""

SOCKETS = "/ws"
"""Where paths of WebSockets end, whatever the gateway stands under."""

LOBBY = 8
"""One of so many places is kept for connections that have not asked for anything yet."""


class Hall:
    """Every open connection, and those without a whole request in the order last heard of."""

    def __init__(
        self,
        settings: Settings,
        max_connections: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self.max_connections = max_connections
        self.clock = clock
        self.connections: set[Connection | Socket] = set()
        self._waiting: dict[Connection, None] = {}
        metrics.CONNECTIONS.set_function(lambda: len(self.connections))

    @property
    def is_full(self) -> bool:
        """Whether as many requests are being answered as there may be."""
        num_answering = len(self.connections) - len(self._waiting)
        return num_answering > self.max_connections - max(1, self.max_connections // LOBBY)

    def connection(self, **options: Any) -> "Connection":
        """A new connection's protocol, for uvicorn to call."""
        return Connection(self, **options)

    def socket(self, **options: Any) -> Socket:
        """What a connection becomes that goes over to WebSocket, for uvicorn to call."""
        return Socket(self, **options)

    def enter(self, connection: "Connection") -> None:
        """Let a connection in; the one not heard of for longest makes room."""
        self.connections.add(connection)
        self._waiting[connection] = None
        if len(self.connections) > self.max_connections:
            next(iter(self._waiting)).cut("displaced")

    def leave(self, connection: "Connection | Socket") -> None:
        """Forget a connection."""
        self.connections.discard(connection)
        if isinstance(connection, Connection):
            self._waiting.pop(connection, None)

    def heard(self, connection: "Connection", *, is_whole: bool) -> None:
        """Something came of a connection, whose request is whole or still to come."""
        self._waiting.pop(connection, None)
        if not is_whole and connection in self.connections:
            self._waiting[connection] = None

    def sweep(self) -> None:
        """End every connection whose peer takes too long."""
        now = self.clock()
        for connection in list(self.connections):
            connection.keep_time(now)


class Connection(H11Protocol):
    """One peer; `now` is the hall's time in seconds."""

    conn: Parser

    def __init__(self, hall: Hall, **options: Any) -> None:
        super().__init__(**options)
        self.logger = PEERS
        self.conn = Parser(h11.SERVER, MAX_HEAD_BYTES)
        self._hall = hall
        self._head_since: float | None = hall.clock()
        self._early_since: float | None = None
        self._num_received = 0
        self._has_only_asked = False
        self._is_sending = False
        self._unread = b""
        self._will_read = False
        self._sends = Pace(hall.settings.stall_seconds, hall.clock())
        self._takes: Pace | None = None

    @property
    def is_whole(self) -> bool:
        """Whether a request has come to its end, and its answer has not."""
        return self.conn.their_state not in (h11.IDLE, h11.SEND_BODY)

    @property
    def write_paused(self) -> bool:
        """Whether the peer leaves so much lying that nothing more is written."""
        return self.flow.write_paused

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._hall.enter(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._hall.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._num_received += len(data)
        self._unread += data
        if not self._will_read:
            self._read()

    def on_response_complete(self) -> None:
        now = self._hall.clock()
        if self.conn.their_state is h11.SEND_BODY:
            self._early_since = now
            if self._has_only_asked:
                self.transport.close()
        super().on_response_complete()
        self._settle(now)
        self._go_on()

    def shutdown(self) -> None:
        """Close once what is being answered has been."""
        if not self.transport.is_closing():
            super().shutdown()

    def keep_time(self, now: float) -> None:
        """End the connection if its peer has taken too long."""
        if self.write_paused or self.transport.is_closing():
            self._time_taking(now)
            return
        self._takes = None
        if self.conn.their_state is h11.IDLE:
            since, seconds = self._head_since, self._hall.settings.head_seconds
            if since is not None and now - since > seconds:
                self.refuse(TooSlow(f"No whole request head came in {seconds:g} seconds."), "head")
        elif self.conn.their_state is h11.SEND_BODY:
            self._time_body(now)

    def refuse(self, error: GatewayError, reason: str, status: int | None = None) -> None:
        """Answer with an error where no answer has begun, and close."""
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE) or not self._num_received:
            self.cut(reason)
            return
        metrics.CONNECTIONS_CUT.labels(reason).inc()
        status, body = status or error.status, msgspec.json.encode(envelope(error))
        headers = [
            ("content-type", "application/json"),
            ("content-length", str(len(body))),
            ("connection", "close"),
        ]
        for event in (
            h11.Response(status_code=status, headers=headers, reason=STATUS_PHRASES[status]),
            h11.Data(data=body),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self._tell_gone()
        self.transport.close()

    def cut(self, reason: str) -> None:
        """End the connection at once."""
        metrics.CONNECTIONS_CUT.labels(reason).inc()
        self._hall.leave(self)
        self._tell_gone()
        self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """Answer bytes that are no HTTP; called by the parser, in the handling of its error."""
        hint = getattr(sys.exception(), "error_status_hint", 400)
        self.refuse(InvalidRequest(msg, code="malformed_request"), "malformed", hint)

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Go on as a socket, in this one's place."""
        self._hall.leave(self)
        super().handle_websocket_upgrade(event)

    def _should_upgrade_to_ws(self) -> bool:
        """Only where something listens: elsewhere it is a request like any other."""
        return str(self.scope["path"]).endswith(SOCKETS)

    def _unsupported_upgrade_warning(self) -> None:
        """Nothing is wrong: whoever offers another protocol is answered in this one."""

    def _read(self) -> None:
        """Parse what has come: of what may cost much, a little at a turn.

        What follows a whole request waits until that is answered.
        """
        self._will_read = False
        if self.transport.is_closing() or self.is_whole:
            return
        num_bytes = self.conn.num_expected or TURN_BYTES
        piece, self._unread = self._unread[:num_bytes], self._unread[num_bytes:]
        self._parse(piece)
        self._go_on()

    def _parse(self, data: bytes) -> None:
        now = self._hall.clock()
        if self.conn.their_state is h11.IDLE and data.strip(EMPTY_LINES):
            self._head_since = self._head_since or now
        super().data_received(data)
        self._settle(now)

    def _go_on(self) -> None:
        """Read what is left before there is more."""
        if self.transport.is_closing():
            return
        if not self._unread:
            if not self.flow.read_paused:
                self.transport.resume_reading()
            return
        self.transport.pause_reading()
        if not self._will_read:
            self._will_read = True
            self.loop.call_soon(self._read)

    def _settle(self, now: float) -> None:
        state = self.conn.their_state
        if state is not h11.IDLE:
            self._head_since = None
        if state is not h11.SEND_BODY:
            self._early_since = None
        elif not self._is_sending:
            self._sends.restart(now, self._num_received)
        self._is_sending = state is h11.SEND_BODY
        # Whether a body will follow an answer, nobody can say: `Expect: 100-continue`.
        self._has_only_asked = self.conn.they_are_waiting_for_100_continue
        self._hall.heard(self, is_whole=self.is_whole)

    def _time_body(self, now: float) -> None:
        """The peer's pace counts while we read; after an early answer only time does."""
        if self._early_since is not None:
            if now - self._early_since > self._hall.settings.stall_seconds:
                self.cut("body")
        elif (
            self.flow.read_paused or self.cycle.body or self.conn.they_are_waiting_for_100_continue
        ):
            self._sends.restart(now, self._num_received)
        elif self._sends.has_stalled(now, self._num_received):
            self.refuse(TooSlow("The request body comes too slowly, or not at all."), "body")

    def _time_taking(self, now: float) -> None:
        """A peer that leaves its answer lying; what is left in our buffer counts down."""
        left = -self.transport.get_write_buffer_size()
        if self._takes is None:
            self._takes = Pace(self._hall.settings.stall_seconds, now, left)
        elif self._takes.has_stalled(now, left):
            self.cut("answer")

    def _tell_gone(self) -> None:
        """Let the application know, which may wait for more or be about to answer."""
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
        self.flow.resume_writing()
