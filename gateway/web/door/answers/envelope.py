"""What every refusal is wrapped in, and what it says of trying again; needs no framework."""

import math

import msgspec

from gateway.errors import GatewayError

MAX_RETRY_AFTER_SECONDS = 60
"""Longer waits make the SDKs fall back to their own backoff or give up."""


class ErrorObject(msgspec.Struct, frozen=True):
    """OpenAI's error: all four keys are always there."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(msgspec.Struct, frozen=True):
    """The envelope of every refusal."""

    error: ErrorObject


def envelope(error: GatewayError) -> ErrorBody:
    """The wire form of an error."""
    return ErrorBody(ErrorObject(error.message, error.type, error.param, error.code))


def retry_headers(error: GatewayError) -> dict[str, str]:
    """When, or that it is not worth, trying again."""
    if error.retry_after_seconds is not None or error.status in (429, 503):
        seconds = min(MAX_RETRY_AFTER_SECONDS, max(1, math.ceil(error.retry_after_seconds or 1)))
        return {"Retry-After": str(seconds)}
    return {"x-should-retry": "false"} if error.status >= 500 else {}
