"""Errors as Hugging Face's clients read them."""

import msgspec

from gateway.errors import GatewayError

PREFIX = "/models/"


class InferenceFault(msgspec.Struct, frozen=True):
    """What its clients show is `error`."""

    error: str
    error_type: str
    param: str | None


def is_spoken_at(path: str, method: str) -> bool:
    """Whether a request is this dialect's: at these paths others only read."""
    return method == "POST" and (path == "/" or path.startswith(PREFIX))


def fault_body(error: GatewayError) -> InferenceFault:
    """A fault on the wire."""
    return InferenceFault(error.message, error.code or error.type, error.param)
