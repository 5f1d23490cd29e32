"""The OpenAPI document: bodies that routes read themselves, and the refusals of every route."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import (
    OpenAPIMediaType,
    OpenAPIResponse,
    Operation,
    Reference,
    RequestBody,
    Server,
)

from gateway.web.door.answers.envelope import ErrorBody
from gateway.web.pages.reference import ReferencePage

REFUSALS = {
    400: "The request cannot be answered as it is.",
    401: "No API key, or one that is not known.",
    403: "The key may not do this.",
    404: "No such model.",
    405: "The route exists for another method.",
    408: "The request's deadline passed.",
    409: "The request contradicts the state of what it names.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    421: "Addressed to a name that is not this gateway's.",
    422: "The model's files cannot be used; the message says why.",
    429: "Too many requests, or the engine is busy; see Retry-After.",
    500: "The pipeline failed.",
    503: "The server is shutting down; see Retry-After.",
}
RUN_REFUSALS = REFUSALS | {404: "No such run, deployment, workflow or file."}
COMMON = (400, 401, 403, 421, 429, 500, 503)
GENERATION = tuple(status for status in REFUSALS if status != 409)
PICTURES = ("png", "jpeg", "webp")
BYTES = {"type": "string", "format": "binary"}


def refusals(*more: int) -> dict[int, ResponseSpec]:
    """The refusals a plain route can answer with."""
    return {
        status: ResponseSpec(ErrorBody, description=REFUSALS[status], generate_examples=False)
        for status in sorted({*COMMON, *more})
    }


def documented(
    body: type[msgspec.Struct],
    answer: type[msgspec.Struct],
    *,
    streams: bool = False,
    multipart: bool = False,
) -> type[Operation]:
    """An operation class that documents a body which the handler decodes itself.

    `streams` says that pictures and server-sent events can be answered too; `multipart`
    that the body may be a form of the same names.
    """

    @dataclass
    class Documented(Operation):
        """The generated operation, its body and responses replaced."""

        def __post_init__(self) -> None:
            asked = {"application/json": _media(schema_of(body))}
            if multipart:
                asked["multipart/form-data"] = _media(form_schema(body, "image", "mask", "markup"))
            self.request_body = RequestBody(required=True, content=asked)
            more = {f"image/{name}": _media(BYTES) for name in PICTURES}
            more["text/event-stream"] = _media({"type": "string"})
            self.responses = _responses(answer, more if streams else {})

    return Documented


def documented_picture(
    body: type[msgspec.Struct], fault: type[msgspec.Struct]
) -> type[Operation]:
    """An operation class of a dialect that answers a picture's bytes, or a fault of its own."""

    @dataclass
    class DocumentedPicture(Operation):
        """The generated operation, its body and responses replaced."""

        def __post_init__(self) -> None:
            content = {"application/json": _media(schema_of(body))}
            self.request_body = RequestBody(required=True, content=content)
            drawn = {f"image/{name}": _media(BYTES) for name in PICTURES}
            refused = {"application/json": _media(schema_of(fault))}
            self.responses = {
                "200": OpenAPIResponse("Success.", content=drawn),
                **{
                    str(status): OpenAPIResponse(REFUSALS[status], content=refused)
                    for status in GENERATION
                },
            }

    return DocumentedPicture


def documented_body(body: type[msgspec.Struct]) -> type[Operation]:
    """An operation class that documents a JSON body which the handler decodes itself."""

    @dataclass
    class DocumentedBody(Operation):
        """The generated operation with its body."""

        def __post_init__(self) -> None:
            asked = {"application/json": _media(schema_of(body))}
            self.request_body = RequestBody(required=True, content=asked)

    return DocumentedBody


def documented_form(body: type[msgspec.Struct], answer: type[msgspec.Struct]) -> type[Operation]:
    """An operation class that documents a form with a `file`."""

    @dataclass
    class DocumentedForm(Operation):
        """The generated operation, its body and responses replaced."""

        def __post_init__(self) -> None:
            form = {"multipart/form-data": _media(form_schema(body, "file"))}
            self.request_body = RequestBody(required=True, content=form)
            self.responses = _responses(answer)

    return DocumentedForm


class RunFault(msgspec.Struct, frozen=True):
    """A refusal as every generation of the ComfyDeploy SDKs reads it."""

    detail: str
    code: str
    message: str
    error: Any


class ComfyFault(msgspec.Struct, frozen=True):
    """A refusal of the Comfy API v2."""

    code: str
    message: str
    details: dict[str, Any] | None


class ComfyRefusal(msgspec.Struct, frozen=True):
    """What it is wrapped in."""

    error: ComfyFault


class RouterRefusal(msgspec.Struct, frozen=True):
    """A refusal of Comfy's model router."""

    detail: str
    error_type: str


def of_runs(body: type[msgspec.Struct] | None = None, *answers: str) -> type[Operation]:
    """An operation class of the ComfyDeploy dialect: a JSON body, its answers, its refusals.

    `answers` are the content types of a success, JSON for none.
    """
    return _of_dialect(RunFault, _asked(body), answers, 200)


def of_comfy_api(
    body: type[msgspec.Struct] | None = None, *answers: str, status: int = 200
) -> type[Operation]:
    """The same of the Comfy API v2; `status` is that of a success."""
    return _of_dialect(ComfyRefusal, _asked(body), answers, status)


def of_comfy_form(*fields: str) -> type[Operation]:
    """The same with a form of a `file` and texts."""
    texts: dict[str, Any] = {name: {"type": "string"} for name in fields}
    properties = texts | {"file": BYTES}
    form = _media({"type": "object", "properties": properties, "required": ["file"]})
    return _of_dialect(ComfyRefusal, {"multipart/form-data": form}, (), 200, 201)


def of_comfy_router(status: int = 200, *, takes: bool = False) -> type[Operation]:
    """The same of Comfy's model router, whose bodies are whatever a model takes."""
    asked = {"application/json": _media({"type": "object"})} if takes else None
    return _of_dialect(RouterRefusal, asked, (), status)


def _of_dialect(
    fault: type[msgspec.Struct],
    asked: dict[str, OpenAPIMediaType] | None,
    answers: tuple[str, ...],
    *statuses: int,
) -> type[Operation]:
    """An operation class of a dialect with a fault of its own."""

    @dataclass
    class OfDialect(Operation):
        """The generated operation, its body and responses replaced."""

        def __post_init__(self) -> None:
            if asked is not None:
                self.request_body = RequestBody(required=True, content=asked)
            kinds = {kind: _media({}) for kind in answers or ("application/json",)}
            self.responses = {
                **{
                    str(status): OpenAPIResponse("Success.", content=kinds)
                    for status in statuses
                },
                **{
                    str(refused): OpenAPIResponse(text, content=_json(fault))
                    for refused, text in RUN_REFUSALS.items()
                },
            }

    return OfDialect


def _asked(body: type[msgspec.Struct] | None) -> dict[str, OpenAPIMediaType] | None:
    return None if body is None else _json(body)


def _json(kind: type[msgspec.Struct]) -> dict[str, OpenAPIMediaType]:
    return {"application/json": _media(schema_of(kind))}


def _responses(
    answer: type[msgspec.Struct], more: Mapping[str, OpenAPIMediaType] = {}
) -> dict[str, OpenAPIResponse | Reference]:
    """A success as JSON, or in more content types, and every refusal."""
    content = {"application/json": _media(schema_of(answer)), **more}
    refused = {"application/json": _media(schema_of(ErrorBody))}
    responses: dict[str, OpenAPIResponse | Reference] = {
        str(status): OpenAPIResponse(REFUSALS[status], content=refused) for status in GENERATION
    }
    responses["200"] = OpenAPIResponse("Success.", content=content)
    return responses


def schema_of(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """A Struct's JSON schema with every reference written out."""
    schema = msgspec.json.schema(kind)
    definitions = schema.pop("$defs", {})

    def inlined(node: Any) -> Any:
        if isinstance(node, list):
            return [inlined(item) for item in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            return inlined(definitions[node["$ref"].rpartition("/")[2]])
        return {name: inlined(item) for name, item in node.items()}

    result = inlined(schema)
    assert isinstance(result, dict)
    return result


def form_schema(kind: type[msgspec.Struct], *files: str) -> dict[str, Any]:
    """A Struct as a form with files, the first of which is required; all else is text."""
    names = schema_of(kind)["properties"]
    fields: dict[str, Any] = {name: {"type": "string"} for name in names}
    fields.pop("images", None)
    return {
        "type": "object",
        "properties": fields | dict.fromkeys(files, BYTES),
        "required": [files[0]],
    }


def openapi_config(version: str) -> OpenAPIConfig:
    """The document at `/schema/openapi.json` and the page at `/schema`."""
    return OpenAPIConfig(
        title="Image gateway",
        version=version,
        description="OpenAI's, Friendli's, ComfyDeploy's and Comfy's dialects of image generation.",
        path="/schema",
        use_handler_docstrings=True,
        # The folder above the document's own, whatever path the gateway stands under.
        servers=[Server(url="..")],
        render_plugins=[ReferencePage()],
    )


def _media(schema: dict[str, Any]) -> OpenAPIMediaType:
    return OpenAPIMediaType(schema=schema)  # type: ignore[arg-type]  # serialised as it is
