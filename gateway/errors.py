"""Every fault the gateway answers with, drawn as one family.

    GatewayError
    ├── InvalidRequest          400  the client's fault, names the parameter
    │   ├── AlreadyLoaded
    │   ├── MissingParameter
    │   ├── InvalidType
    │   ├── InvalidValue
    │   ├── OutOfRange
    │   └── UnsupportedValue
    ├── Unauthorized            401
    ├── Forbidden               403
    ├── NotFound                404
    │   └── ModelNotFound
    │       └── OtherWeights
    ├── MethodNotAllowed        405
    ├── Conflict                409
    ├── TooLarge                413
    │   └── StorageFull             this key keeps as many bytes as it may; not worth a retry
    ├── UnsupportedMediaType    415
    │   └── UnsupportedEncoding     says which are taken
    ├── Misdirected             421  addressed to a name that is not the gateway's
    ├── RateLimited             429  this key asks too much; carries retry_after_seconds
    ├── Overloaded              429  the engine's door is full; carries retry_after_seconds
    ├── DeadlineExceeded        408  the request's own deadline passed
    ├── TooSlow                 408  the request itself did not come in time
    ├── Cancelled               499  the client went away or asked to stop
    ├── ModelUnusable           422  its files or card cannot be used; not worth a retry
    ├── GenerationFailed        500
    │   ├── OutOfMemory
    │   └── NotFinite
    ├── NotOffered              501  a route that makes no sense here
    ├── ServerFull              503  too many connections; carries retry_after_seconds
    ├── StoreUnavailable        503  stored bytes cannot be read now
    ├── NotStored               507  bytes cannot be kept now
    ├── ShuttingDown            503  carries retry_after_seconds
    └── DatabaseUnavailable     503  carries retry_after_seconds

A class carries its HTTP status and OpenAI's `type` and `code`; each dialect has one
function that turns an instance into its own wire form.
"""

from typing import ClassVar

MESSAGE_CHARACTERS = 4000
"""What a message may repeat of what a client sent."""

VALUE_CHARACTERS = 200
"""The same of one value, so that what is wanted instead is told behind it."""


def shortened(text: str, characters: int) -> str:
    """A text of at most so many characters, which says where it was cut."""
    return text if len(text) <= characters else f"{text[: characters - 1]}\u2026"


class GatewayError(Exception):
    """A fault with a public message.

    `param` is the dotted path of the request field at fault, or None.
    `retry_after_seconds` is set where trying again later can help.
    """

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    code: str | None = None

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = shortened(message, MESSAGE_CHARACTERS)
        self.param = shortened(param, MESSAGE_CHARACTERS) if param else param
        self.code = code or type(self).code
        self.retry_after_seconds = retry_after_seconds


class InvalidRequest(GatewayError):
    """The request cannot be answered as it is."""

    status = 400
    type = "invalid_request_error"
    code = "invalid_value"


class AlreadyLoaded(InvalidRequest):
    """A LoRA is to be loaded under a name that is taken, as vLLM says it: KubeAI reads the type."""

    type = "InvalidUserInput"


class MissingParameter(InvalidRequest):
    """A required parameter is absent or empty."""

    code = "missing_required_parameter"

    def __init__(self, param: str) -> None:
        super().__init__(f"Missing required parameter: '{param}'.", param=param)


class InvalidType(InvalidRequest):
    """A parameter has the wrong JSON type."""

    code = "invalid_type"

    def __init__(self, param: str, wanted: str, got: str) -> None:
        message = f"Invalid type for '{param}': expected {wanted}, but got {got} instead."
        super().__init__(message, param=param)


class InvalidValue(InvalidRequest):
    """A parameter's value is none of those supported."""

    def __init__(self, param: str, got: object, supported: str) -> None:
        shown = shortened(str(got), VALUE_CHARACTERS)
        message = f"Invalid value: '{shown}'. Supported values are: {supported}."
        super().__init__(message, param=param)


class OutOfRange(InvalidRequest):
    """A number, string or list is beyond its bound; `kind` is integer, decimal, string or array."""

    def __init__(self, param: str, kind: str, bound: float, got: float, *, above: bool) -> None:
        side, limit = ("above", "maximum") if above else ("below", "minimum")
        if kind in ("string", "array"):
            fault = "too long" if above else "too short"
            expected = f"{kind} with {limit} length {bound:g}"
            found = f"{kind} with length {got:g}"
            message = (
                f"Invalid '{param}': {kind} {fault}. "
                f"Expected a {expected}, but got a {found} instead."
            )
        else:
            relation = "<=" if above else ">="
            message = (
                f"Invalid '{param}': {kind} {side} {limit} value. "
                f"Expected a value {relation} {_number(bound)}, but got {_number(got)} instead."
            )
        quantity = "length" if kind in ("string", "array") else "value"
        super().__init__(message, param=param, code=f"{kind}_{side}_{limit[:3]}_{quantity}")


def _number(value: float) -> str:
    return str(int(value)) if value == value // 1 else f"{value:g}"


class UnsupportedValue(InvalidRequest):
    """A value OpenAI knows that this gateway or this endpoint cannot honour."""

    code = "unsupported_value"


class Unauthorized(GatewayError):
    """No API key, or one that is not known."""

    status = 401
    type = "invalid_request_error"
    code = "invalid_api_key"


class Forbidden(GatewayError):
    """The key is known and may not do this."""

    status = 403
    type = "invalid_request_error"
    code = "permission_denied"


class NotFound(GatewayError):
    """Nothing stands at this address."""

    status = 404
    type = "invalid_request_error"


class ModelNotFound(NotFound):
    """The model id names no served endpoint, or no adapter route of it."""

    code = "model_not_found"

    def __init__(
        self, message: str, *, param: str | None = "model", code: str | None = None
    ) -> None:
        super().__init__(message, param=param, code=code)


class OtherWeights(ModelNotFound):
    """A model is there, but not with the digest that was asked for."""

    def __init__(self, id: str, found: str | None, wanted: str) -> None:
        super().__init__(f"The model `{id}` has the weights `{found}`, not `{wanted}`.")


class MethodNotAllowed(GatewayError):
    """The route exists for another method."""

    status = 405
    type = "invalid_request_error"
    code = "method_not_supported"


class Conflict(GatewayError):
    """The request contradicts the state of what it names."""

    status = 409
    type = "invalid_request_error"
    code = "conflict"


class TooLarge(GatewayError):
    """The body exceeds its bound, in bytes."""

    status = 413
    type = "invalid_request_error"
    code = "request_too_large"


class StorageFull(TooLarge):
    """The key would keep more bytes than it may; no client tries a 413 again by itself."""

    code = "storage_quota_exceeded"


class UnsupportedMediaType(GatewayError):
    """The body's content type is none that the route reads."""

    status = 415
    type = "invalid_request_error"
    code = "unsupported_content_type"


class UnsupportedEncoding(UnsupportedMediaType):
    """The body is packed in a way that is not read; `taken` are those that are."""

    taken: ClassVar[tuple[str, ...]] = ("gzip", "deflate")


class Misdirected(GatewayError):
    """The request is addressed to a name that is not this gateway's."""

    status = 421
    type = "invalid_request_error"
    code = "misdirected_request"


class RateLimited(GatewayError):
    """The key has used up its requests per minute or its concurrent samples."""

    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"


class Overloaded(GatewayError):
    """The engine's door is full; nothing was started."""

    status = 429
    type = "rate_limit_error"
    code = "slow_down"


class DeadlineExceeded(GatewayError):
    """The request's own deadline passed before its pictures were done."""

    status = 408
    type = "invalid_request_error"
    code = "deadline_exceeded"


class TooSlow(GatewayError):
    """The client took too long to send its request."""

    status = 408
    type = "invalid_request_error"
    code = "request_timeout"


class Cancelled(GatewayError):
    """The work was stopped because nobody waits for it any more."""

    status = 499
    type = "invalid_request_error"
    code = "cancelled"


class ModelUnusable(GatewayError):
    """An endpoint or adapter that cannot be loaded: the operator's to mend.

    The message names it and says why. No SDK asks again by itself for this status.
    """

    status = 422
    type = "invalid_request_error"
    code = "model_unusable"

    @classmethod
    def of(cls, model_id: str, reason: str) -> "ModelUnusable":
        """The fault of a model, for a reason that names no folder of this machine."""
        return cls(f"The model `{model_id}` cannot be used: {reason}", param="model")


class GenerationFailed(GatewayError):
    """The pipeline raised; the cause is in the log under the request's id."""

    code = "generation_failed"


class OutOfMemory(GenerationFailed):
    """One sample alone does not fit into the device's memory."""

    code = "out_of_memory"


class NotFinite(GenerationFailed):
    """The model computed numbers that are no picture; drawing it again computes the same."""

    code = "not_finite"


class NotOffered(GatewayError):
    """A route of the dialect that has no meaning on a self-hosted gateway."""

    status = 501
    type = "invalid_request_error"
    code = "not_offered"


class ServerFull(GatewayError):
    """As many requests are being answered as the process has places for."""

    status = 503
    type = "service_unavailable_error"
    code = "server_is_overloaded"


class StoreUnavailable(GatewayError):
    """The store of pictures and files does not answer; it may later."""

    status = 503
    type = "service_unavailable_error"
    code = "store_unavailable"


class NotStored(GatewayError):
    """The store of pictures and files takes nothing more, or does not answer."""

    status = 507
    code = "not_stored"


class ShuttingDown(GatewayError):
    """The process is ending; another one may answer."""

    status = 503
    type = "service_unavailable_error"
    code = "server_is_overloaded"


class DatabaseUnavailable(GatewayError):
    """The database is gone for now; nothing is wrong with the request."""

    status = 503
    type = "service_unavailable_error"
    code = "database_unavailable"

    def __init__(self, message: str = "The gateway's database cannot be reached now.") -> None:
        super().__init__(message, retry_after_seconds=5)


FAILURES: dict[str, type[GatewayError]] = {
    str(error.code): error
    for error in (
        UnsupportedValue,
        ModelNotFound,
        DeadlineExceeded,
        Cancelled,
        ModelUnusable,
        GenerationFailed,
        OutOfMemory,
        NotFinite,
        ShuttingDown,
    )
}
"""What a `Failed` event's code stands for."""
