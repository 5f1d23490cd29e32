"""Answers to who asks for a WebSocket and does not get one: HTTP, as to anybody."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from litestar.types import Scope, Send


async def answer(
    scope: "Scope", send: "Send", status: int, headers: dict[str, str], body: bytes
) -> None:
    """Answer a request with a whole body; also one that would have been a socket's first."""
    is_socket = scope["type"].startswith("websocket")
    kind = "websocket.http.response" if is_socket else "http.response"
    encoded = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    start: Any = {"type": f"{kind}.start", "status": status, "headers": encoded}
    whole: Any = {"type": f"{kind}.body", "body": body, "more_body": False}
    await send(start)
    await send(whole)
