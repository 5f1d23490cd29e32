"""From the error family to the envelope of the dialect asked in, with headers for retries."""

from typing import Any

import structlog
from litestar import MediaType, Request, Response
from litestar.exceptions import (
    ClientException,
    HTTPException,
    InternalServerException,
    MethodNotAllowedException,
    NotFoundException,
)

from gateway.errors import (
    Cancelled,
    DatabaseUnavailable,
    GatewayError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    TooLarge,
    UnsupportedEncoding,
)
from gateway.outages import is_outage
from gateway.web.automatic1111 import faults as automatic1111_faults
from gateway.web.comfyapi import faults as comfyapi_faults
from gateway.web.comfyapi import router_faults
from gateway.web.comfydeploy import faults as comfydeploy_faults
from gateway.web.comfyui import faults as comfyui_faults
from gateway.web.door.answers.envelope import envelope, retry_headers
from gateway.web.door.answers.spans import OutOfBytes
from gateway.web.huggingface import faults as huggingface_faults

log = structlog.get_logger()
DIALECTS = (
    comfyapi_faults,
    router_faults,
    comfyui_faults,
    automatic1111_faults,
    comfydeploy_faults,
)
"""By the paths that each is spoken at, the narrower before the wider."""



def _told(error: GatewayError) -> dict[str, str]:
    """How a body may be packed that was packed otherwise, or how long a file is."""
    match error:
        case UnsupportedEncoding():
            return {"Accept-Encoding": ", ".join(error.taken)}
        case OutOfBytes():
            return {"Content-Range": f"bytes */{error.size_bytes}"}
        case _:
            return {}


def answer_gateway_error(request: Request[Any, Any, Any], error: GatewayError) -> Response[Any]:
    """Answer a fault of the family."""
    return _answer(request, error)


def answer_http_exception(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    """Answer what the framework refused: no route, wrong method, a body too large."""
    return _answer(request, _translated(request, error), _allowed(error))


def answer_bug(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """Answer a fault of ours without telling its cause; the log has it."""
    path = request.scope["path"]
    if is_outage(error):
        log.warning("request met an outage", path=path, fault=str(error))
        return _answer(request, DatabaseUnavailable())
    log.error("request failed", path=path, exc_info=error)
    fault = GatewayError("The server had an error while processing your request.")
    return _answer(request, fault)


def _translated(request: Request[Any, Any, Any], error: HTTPException) -> GatewayError:
    path = request.scope["path"]
    match error:
        case InternalServerException(detail="client disconnected prematurely"):
            return Cancelled("The client closed the connection.")
        case NotFoundException():
            return NotFound(f"Invalid URL ({request.method} {request.scope['path']})")
        case MethodNotAllowedException():
            return MethodNotAllowed(
                f"Not allowed to {request.method} on {request.scope['path']} "
                "(HINT: perhaps you meant to use a different HTTP method?)"
            )
        case HTTPException(status_code=413):
            return TooLarge("The request body is larger than this server accepts.")
        case ClientException():
            return InvalidRequest(error.detail or "The request could not be read.")
        case _:
            log.error("request failed", path=path, exc_info=error)
            return GatewayError("The server had an error while processing your request.")


def _allowed(error: HTTPException) -> dict[str, str]:
    """The methods that a path does take, where the one asked with is none of them."""
    if not isinstance(error, MethodNotAllowedException):
        return {}
    return {"Allow": (error.headers or {}).get("allow", "")}


def _body(request: Request[Any, Any, Any], error: GatewayError) -> Any:
    path = request.scope["path"]
    for dialect in DIALECTS:
        if dialect.is_spoken_at(path):
            return dialect.fault_body(error)
    if huggingface_faults.is_spoken_at(path, request.method):
        return huggingface_faults.fault_body(error)
    return envelope(error)


def _answer(
    request: Request[Any, Any, Any], error: GatewayError, headers: dict[str, str] | None = None
) -> Response[Any]:
    """In the dialect of the path, which may be one where no route stands."""
    path = request.scope["path"]
    status, of_dialect = error.status, {}
    if comfyapi_faults.is_spoken_at(path):
        status = comfyapi_faults.STATUSES.get(error.code or "", status)
    elif router_faults.is_spoken_at(path):
        of_dialect = router_faults.fault_headers(error, request.scope)
    return Response(
        _body(request, error),
        status_code=status,
        headers=retry_headers(error) | _told(error) | of_dialect | (headers or {}),
        media_type=MediaType.JSON,
    )
