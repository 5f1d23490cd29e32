"""Errors in the ComfyDeploy dialect: one body that every generation of SDKs reads."""

from typing import Any

from gateway.errors import GatewayError
from gateway.runs.graph.refusal import GraphRefused

PREFIX = "/api"


def is_spoken_at(path: str) -> bool:
    """Whether a path is this dialect's, also where no route stands at it."""
    return path == PREFIX or path.startswith(f"{PREFIX}/")


def fault_body(error: GatewayError) -> dict[str, Any]:
    """A fault on the wire; a refused graph with ComfyUI's own report.

    `detail` is what the second generation reads, `code` and `message` the first.
    """
    body: dict[str, Any] = {
        "detail": error.message,
        "code": error.code or error.type,
        "message": error.message,
        "error": error.message,
    }
    if isinstance(error, GraphRefused):
        body |= {"error": error.error, "node_errors": error.node_errors}
    return body
