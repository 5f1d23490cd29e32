"""Errors as AUTOMATIC1111's clients read them."""

import msgspec

from gateway.errors import GatewayError

PREFIXES = ("/sdapi", "/internal")


class ApiFault(msgspec.Struct, frozen=True):
    """Some clients show `detail`, some `error` with `errors`."""

    error: str
    detail: str
    body: str
    errors: str


def is_spoken_at(path: str) -> bool:
    """Whether a path is this dialect's, also where no route stands at it."""
    return any(path == prefix or path.startswith(f"{prefix}/") for prefix in PREFIXES)


def fault_body(error: GatewayError) -> ApiFault:
    """A fault on the wire; `body` is the field at fault."""
    code = error.code or error.type
    return ApiFault(code, error.message, error.param or "", error.message)
