"""HEAD on every route that answers GET: the same headers, no body."""

from litestar.enums import ScopeType
from litestar.types import (
    ASGIApp,
    HTTPDisconnectEvent,
    HTTPScope,
    Message,
    Receive,
    ReceiveMessage,
    Scope,
    Send,
)


class Heads:
    """Outside the router: asks it for GET and keeps the body to itself."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer HEAD; let every other method through as it is."""
        if scope["type"] == ScopeType.HTTP and scope["method"] == "HEAD":
            await self._head(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _head(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        is_answered = False

        async def sending(message: Message) -> None:
            nonlocal is_answered
            if message["type"] == "http.response.start":
                await send(message)
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                is_answered = True

        async def receiving() -> ReceiveMessage:
            # A stream that nobody reads ends as it does when its reader leaves.
            return HTTPDisconnectEvent(type="http.disconnect") if is_answered else await receive()

        # A scope of its own: the server still reads from the other what it may send.
        asked = scope.copy()
        asked["method"] = "GET"
        try:
            await self.app(asked, receiving, sending)
        finally:
            scope["path_template"] = asked.get("path_template", "")
