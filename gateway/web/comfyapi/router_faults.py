"""Errors of Comfy's model router: a detail, and one of a few kinds that its clients know."""

from litestar.types import Scope

from gateway.errors import GatewayError

PREFIX = "/v2/models"
TYPE_HEADER = "X-Comfy-Error-Type"
ID_HEADER = "X-Comfy-Request-Id"
TYPES = {
    401: "unauthorized",
    403: "forbidden",
    404: "model_not_found",
    408: "deadline_exceeded",
    429: "rate_limited",
    499: "client_disconnected",
    503: "service_unavailable",
    507: "service_unavailable",
}


def is_spoken_at(path: str) -> bool:
    """Whether a path is this dialect's, also where no route stands at it."""
    return path == PREFIX or path.startswith(f"{PREFIX}/")


def error_type(error: GatewayError) -> str:
    """Which of the kinds a fault is."""
    if error.code == "request_not_found":
        return error.code
    return TYPES.get(error.status, "internal_error" if error.status >= 500 else "invalid_input")


def fault_body(error: GatewayError) -> dict[str, str]:
    """A fault on the wire."""
    return {"detail": error.message, "error_type": error_type(error)}


def fault_headers(error: GatewayError, scope: Scope) -> dict[str, str]:
    """The same kind where clients look for it first, and the request's number."""
    return {TYPE_HEADER: error_type(error)} | number_header(scope)


def number_header(scope: Scope) -> dict[str, str]:
    """What a request goes by, where these clients look for it."""
    return {ID_HEADER: str(scope["state"].get("facts", {}).get("request_id", ""))}
