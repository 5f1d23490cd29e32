"""WebSockets: connections that went over to another protocol, in the same bounds as before."""

from typing import TYPE_CHECKING, Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from gateway.telemetry import metrics
from gateway.web.server.pace import Pace
from gateway.web.server.peers import PEERS

if TYPE_CHECKING:
    from gateway.web.server.connections import Hall

MAX_MESSAGE_BYTES = 2**16
"""Of what a client says: a socket is for listening."""


class Socket(WebSocketsSansIOProtocol):
    """One peer that is told things; one that leaves them lying is cut off.

    uvicorn asks it every 20 seconds whether it is still there.
    """

    def __init__(self, hall: "Hall", **options: Any) -> None:
        super().__init__(**options)
        self.logger = PEERS  # the other would write queries down, with the keys in them
        self._hall = hall
        self._takes: Pace | None = None

    @property
    def write_paused(self) -> bool:
        """Whether the peer leaves so much lying that nothing more is written."""
        return not self.writable.is_set()

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._hall.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._hall.leave(self)
        super().connection_lost(exc)

    def keep_time(self, now: float) -> None:
        """End the connection if its peer has taken too long; what is left to send counts down."""
        if not self.write_paused or self.transport.is_closing():
            self._takes = None
            return
        left = -self.transport.get_write_buffer_size()
        if self._takes is None:
            self._takes = Pace(self._hall.settings.stall_seconds, now, left)
        elif self._takes.has_stalled(now, left):
            self.cut("socket")

    def cut(self, reason: str) -> None:
        """End the connection at once."""
        metrics.CONNECTIONS_CUT.labels(reason).inc()
        self._hall.leave(self)
        self.transport.abort()
