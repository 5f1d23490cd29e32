"""Errors as Hugging Face's clients read them."""

from gateway.errors import GatewayError

PREFIX = "/models/"


def is_spoken_at(path: str, method: str) -> bool:
    """Whether a request is this dialect's: at these paths others only read."""
    return method == "POST" and (path == "/" or path.startswith(PREFIX))


def fault_body(error: GatewayError) -> dict[str, str | None]:
    """A fault on the wire."""
    return {"error": error.message, "error_type": error.code or error.type, "param": error.param}
