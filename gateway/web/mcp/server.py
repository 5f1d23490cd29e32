"""The MCP server itself, by the official SDK: its sessions, its tools, what they answer."""

import asyncio
from base64 import b64encode
from importlib.metadata import version
from typing import Any

import msgspec
from litestar import Request
from litestar.types import ASGIApp, Receive, Scope, Send
from mcp.server import Server, ServerRequestContext
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from mcp_types import (
    CallToolRequestParams,
    CallToolResult,
    ContentBlock,
    ImageContent,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    Tool,
    ToolAnnotations,
)

from gateway.accounts.limits import Caller
from gateway.errors import GatewayError
from gateway.outside.documents import MAX_JSON_BYTES
from gateway.telemetry import traces
from gateway.web.door.desk import Desk
from gateway.web.mcp.endpoint import CALLER, TRACE
from gateway.web.mcp.tools import TOOLS, Drawn, Kind, drawing, models_of

INSTRUCTIONS = "Draws and edits pictures. list_models tells the models and what each takes."
IDLE_SECONDS = 600.0
MAX_SESSIONS = 1000
OPEN = "open"
"""Who all are that need no key."""

Context = ServerRequestContext[Any, Any]


async def keep_sessions(desk: Desk, begun: "asyncio.Future[ASGIApp]") -> None:
    """Serve until cancelled; `begun` gets the application. A session is its key's alone."""
    manager = StreamableHTTPSessionManager(
        server_of(desk),
        # The door has looked at the host and the origin.
        security_settings=TransportSecuritySettings(enable_dns_rebinding_protection=False),
        session_idle_timeout=IDLE_SECONDS,
        max_request_body_size=MAX_JSON_BYTES,
        max_sessions=MAX_SESSIONS,
    )

    async def served(scope: Scope, receive: Receive, send: Send) -> None:
        owner = scope["state"][CALLER].id or OPEN
        token = AccessToken(token=owner, client_id=owner, scopes=[])
        asked: Any = {**scope, "user": AuthenticatedUser(token)}
        await manager.handle_request(asked, receive, send)  # type: ignore[arg-type]

    async with manager.run():
        begun.set_result(served)
        await asyncio.Event().wait()


def server_of(desk: Desk) -> Server[Any]:
    """The server and its tools."""

    async def list_tools(
        _context: Context, _params: PaginatedRequestParams | None
    ) -> ListToolsResult:
        return ListToolsResult(tools=[_tool(name, *told) for name, told in TOOLS.items()])

    async def call_tool(context: Context, params: CallToolRequestParams) -> CallToolResult:
        assert context.request is not None
        trace = context.request.scope["state"][TRACE]
        try:
            with traces.again(trace, "execute_tool", tool=params.name[:100]):
                return await _called(desk, context, params)
        except GatewayError as error:
            return CallToolResult(content=[_text(error.message)], is_error=True)

    return Server(
        "image-gateway",
        version=version("image-gateway"),
        instructions=INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


async def _called(desk: Desk, context: Context, params: CallToolRequestParams) -> CallToolResult:
    """What a tool answers; cancelled, it stops what is drawn for it."""
    assert context.request is not None
    request: Request[Any, Any, Any] = Request(context.request.scope, _silence)
    caller: Caller = request.scope["state"][CALLER]
    arguments = params.arguments or {}
    if params.name == "list_models":
        found = models_of(desk, caller)
        return _result([_text(msgspec.json.encode(found).decode())], {"models": found})
    if params.name not in TOOLS:
        why = f"There is no tool {params.name[:100]}; there are {', '.join(TOOLS)}."
        return CallToolResult(content=[_text(why)], is_error=True)
    await desk.door.limits.count_request(caller)
    kind: Kind = "edit" if params.name == "edit_image" else "generate"
    drawn = await drawing(desk, request, caller, kind, arguments, context.session.report_progress)
    return _told(drawn)


def _told(drawn: Drawn) -> CallToolResult:
    """The pictures, then in words where they are and what was not done as asked."""
    content: list[ContentBlock] = [
        ImageContent(data=b64encode(picture.data).decode(), mime_type=f"image/{picture.format}")
        for picture in drawn.pictures
    ]
    facts = drawn.facts()
    lines = [f"{image['url'] or 'not stored'} (seed {image['seed']})" for image in facts["images"]]
    lines += [warning["message"] for warning in facts["warnings"]]
    return _result([*content, _text("\n".join(lines))], facts)


def _result(content: list[ContentBlock], structured: dict[str, Any]) -> CallToolResult:
    return CallToolResult(content=content, structured_content=structured)


def _text(text: str) -> TextContent:
    return TextContent(text=text)


def _tool(name: str, description: str, schema: dict[str, Any]) -> Tool:
    reads = name == "list_models"
    annotations = ToolAnnotations(read_only_hint=reads, destructive_hint=False)
    return Tool(name=name, description=description, input_schema=schema, annotations=annotations)


async def _silence() -> Any:
    """Whether the client is there is the transport's to know."""
    await asyncio.Event().wait()
