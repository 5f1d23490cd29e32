"""Where agents call tools: MCP's Streamable HTTP at `/mcp`, behind the same door as all else.

Its SDK is an extra, and takes a second to import: it is when it is first asked for.
"""

import asyncio
from contextlib import suppress
from typing import Any

from litestar import Request, Response, delete, get, post
from litestar.types import ASGIApp, Receive, Scope, Send

from gateway.accounts.limits import Caller
from gateway.errors import MethodNotAllowed, NotOffered, UnsupportedMediaType
from gateway.outside.documents import check_size
from gateway.telemetry import traces
from gateway.web.door.bodies.bodies import announced_bytes, media_type
from gateway.web.door.desk import Desk

AnyRequest = Request[Any, Any, Any]
PATH = "/mcp"
CALLER = "mcp_caller"
"""In a request's state: whose it is."""

TRACE = "mcp_trace"
"""And the trace under way: its session, where it is answered, has none, or an earlier one."""


class Passed(Response[Any]):
    """An answer that another application gives."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(None)
        self.app = app

    def to_asgi_response(self, *_: Any, **_options: Any) -> Any:
        """The other application, which reads the request itself."""
        return self.app


class Endpoint:
    """The route of MCP, and its sessions for as long as the application lasts."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self._begins = asyncio.Lock()
        self._keeping: asyncio.Task[None] | None = None
        self._served: ASGIApp | None = None

    def routes(self) -> list[Any]:
        """The route handlers."""

        @post(PATH, status_code=200, include_in_schema=False)
        async def call(request: AnyRequest) -> Response[Any]:
            """A message of an agent's."""
            caller = self.desk.door.identify(request)
            if (kind := media_type(request)) != "application/json":
                raise UnsupportedMediaType(f"MCP's messages are application/json, not '{kind}'.")
            check_size(announced_bytes(request) or 0)
            return await self._passed(caller)

        @delete(PATH, status_code=200, include_in_schema=False)
        async def leave(request: AnyRequest) -> Response[Any]:
            """The end of a session."""
            return await self._passed(self.desk.door.identify(request))

        @get(PATH, include_in_schema=False)
        async def listen(request: AnyRequest) -> None:
            """Nothing is told but in answers."""
            self.desk.door.identify(request)
            raise MethodNotAllowed("This server tells nothing on its own; POST messages to it.")

        return [call, leave, listen]

    async def close(self) -> None:
        """End all sessions."""
        if self._keeping is not None:
            self._keeping.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeping

    async def _passed(self, caller: Caller) -> Response[Any]:
        async with self._begins:
            served = self._served = self._served or await self._begin()
        return Passed(_of_caller(served, caller))

    async def _begin(self) -> ASGIApp:
        """Import the SDK and open its sessions in a task of their own.

        Raises:
            NotOffered: it is not installed.
        """
        try:
            from gateway.web.mcp import server  # noqa: PLC0415  an extra
        except ModuleNotFoundError as error:
            why = f"MCP needs {error.name}: pip install 'image-gateway[mcp]'"
            raise NotOffered(why) from error
        begun: asyncio.Future[ASGIApp] = asyncio.get_running_loop().create_future()
        self._keeping = asyncio.create_task(server.keep_sessions(self.desk, begun))
        either: set[asyncio.Future[Any]] = {self._keeping, begun}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if self._keeping.done():
            self._keeping.result()
        return begun.result()


def _of_caller(app: ASGIApp, caller: Caller) -> ASGIApp:
    async def asked(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"] |= {CALLER: caller, TRACE: traces.current()}
        await app(scope, receive, send)

    return asked
