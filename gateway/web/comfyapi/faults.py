"""Errors of the Comfy API v2, with its own codes where it has some."""

from typing import Any

from gateway.errors import GatewayError
from gateway.runs.graph.refusal import GraphRefused

PREFIX = "/api/v2"
OF_OLDER_CLIENTS = f"{PREFIX}/run"
"""A path of ComfyDeploy's hosted service, told of in its own dialect."""

STATUSES = {
    "invalid_workflow": 422,
    "workflow_format_ui": 422,
    "missing_asset": 422,
    "idempotency_key_reuse": 422,
    "metadata_invalid": 422,
}
"""Those of its codes whose status is not their fault's own."""

CODES = {
    400: "invalid_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    429: "queue_full",
    499: "canceled",
    500: "internal_error",
    503: "unavailable",
}
"""What a fault is called that has no code, or one of another dialect's."""

OWN = {
    *STATUSES,
    *("hash_mismatch", "blob_not_found", "asset_in_use", "too_many_streams", "invalid_cursor"),
    *("invalid_metadata_filter", "storage_quota_exceeded", "range_not_satisfiable"),
}


def is_spoken_at(path: str) -> bool:
    """Whether a path is this dialect's, also where no route stands at it."""
    if path == OF_OLDER_CLIENTS or path.startswith(f"{OF_OLDER_CLIENTS}/"):
        return False
    return path == PREFIX or path.startswith(f"{PREFIX}/")


def fault_body(error: GatewayError) -> dict[str, Any]:
    """A fault on the wire; a refused graph with what is wrong at which node."""
    code = error.code or error.type
    details: dict[str, Any] = {}
    if error.param:
        details["param"] = error.param
    if isinstance(error, GraphRefused):
        details = {"error": error.error, "node_errors": error.node_errors}
    if code not in OWN:
        code = CODES.get(error.status, code)
    return {"error": {"code": code, "message": error.message, "details": details or None}}
