"""The OpenAPI document as a page of plain HTML: no script, and nothing fetched from elsewhere."""

import base64
import hashlib
from collections.abc import Sequence
from html import escape
from typing import Any

from litestar import Request, get
from litestar.enums import MediaType
from litestar.openapi.plugins import OpenAPIRenderPlugin

Schema = dict[str, Any]

STYLE = """
:root { color-scheme: light dark; font: 100%/1.5 system-ui, sans-serif; }
body { margin: 0 auto; padding: 0 1rem 3rem; max-width: 60rem; }
summary { padding: 0.4rem 0; cursor: pointer; }
details { border-top: 1px solid color-mix(in srgb, currentColor 20%, transparent); }
code { font-family: ui-monospace, monospace; font-size: 0.92em; }
table { border-collapse: collapse; margin: 0.25rem 0 1rem; width: 100%; }
th, td { padding: 0.2rem 1rem 0.2rem 0; text-align: left; vertical-align: top; }
th { font-weight: 600; }
td:first-child { white-space: nowrap; }
"""
_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY = f"default-src 'none'; style-src 'sha256-{_HASH}'"
_WRITTEN = "openapi"
"""In the application's state: the document, which takes a moment to write."""

METHODS = ("get", "post", "put", "patch", "delete")


class ReferencePage(OpenAPIRenderPlugin):
    """Serves the page at the document's own path."""

    def __init__(self) -> None:
        super().__init__(path="/reference", media_type=MediaType.HTML)

    def render(self, request: Request[Any, Any, Any], openapi_schema: Schema) -> bytes:
        """The page; paths with and without `/v1` stand together as one route."""
        # Relative, since only the browser knows what stands before the path.
        is_beside = request.scope["raw_path"].endswith(b"/schema")
        return page(openapi_schema, f"{'.' if is_beside else '..'}/schema/openapi.json").encode()


@get(["/openapi.json", "/v1/openapi.json"], include_in_schema=False)
async def document(request: Request[Any, Any, Any]) -> Schema:
    """The document where clients look for it that have been told a base URL."""
    state = request.app.state
    if _WRITTEN not in state:
        state[_WRITTEN] = request.app.openapi_schema.to_schema()
    here = ".." if request.scope["path"].startswith("/v1/") else "."
    written: Schema = state[_WRITTEN]
    return written | {"servers": [{"url": here}]}


def page(document: Schema, link: str) -> str:
    """The whole page of an OpenAPI document, which is found at a link."""
    info = document["info"]
    title = escape(info["title"])
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{STYLE}</style></head><body><h1>{title} "
        f"{escape(info['version'])}</h1><p>{escape(info.get('description', ''))} "
        f'The same as <a href="{escape(link)}">openapi.json</a>.</p>'
        f"{sections(document)}</body></html>"
    )


def sections(document: Schema) -> str:
    """Every route of an OpenAPI document, under a heading for each of its tags."""
    groups: dict[str, list[str]] = {}
    for paths, method, operation in _routes(document["paths"]):
        tag = (operation.get("tags") or ["other"])[0]
        groups.setdefault(tag, []).append(_operation(paths, method, operation, document))
    return "".join(
        f"<h2>{escape(tag)}</h2>{''.join(operations)}" for tag, operations in groups.items()
    )


def _routes(paths: Schema) -> list[tuple[list[str], str, Schema]]:
    """Every operation with all the paths it answers at."""
    found: dict[tuple[str, str], tuple[list[str], str, Schema]] = {}
    for path, item in sorted(paths.items(), key=lambda entry: ("/v1" not in entry[0], entry[0])):
        for method in METHODS:
            if operation := item.get(method):
                key = (method, operation.get("description") or path)
                found.setdefault(key, ([], method, operation))[0].append(path)
    return list(found.values())


def _operation(paths: list[str], method: str, operation: Schema, document: Schema) -> str:
    named = ", ".join(f"<code>{escape(path)}</code>" for path in paths)
    parts = [f"<p>{escape(operation.get('description', ''))}</p>"]
    if parameters := operation.get("parameters"):
        rows = [(one["name"], one["in"], one.get("description", "")) for one in parameters]
        parts.append(_table(("parameter", "in", "meaning"), rows))
    for kind, media in operation.get("requestBody", {}).get("content", {}).items():
        parts.append(f"<p>Body, <code>{escape(kind)}</code></p>{_fields(media, document)}")
    answers = [
        (status, answer.get("description", ""), ", ".join(answer.get("content", {})))
        for status, answer in operation.get("responses", {}).items()
    ]
    parts.append(_table(("status", "meaning", "content type"), answers))
    return (
        f"<details><summary><strong>{method.upper()}</strong> {named}</summary>"
        f"{''.join(parts)}</details>"
    )


def _fields(media: Schema, document: Schema) -> str:
    schema = _resolved(media.get("schema", {}), document)
    required = schema.get("required", ())
    rows = [
        (
            f"{name} (required)" if name in required else name,
            _kind(field, document),
            field.get("description", ""),
        )
        for name, field in schema.get("properties", {}).items()
    ]
    return _table(("field", "type", "meaning"), rows) if rows else ""


def _kind(field: Schema, document: Schema) -> str:
    """A field's type, its bounds and its default, in one line."""
    field = _resolved(field, document)
    if choices := field.get("anyOf") or field.get("oneOf"):
        said = " or ".join(_kind(choice, document) for choice in choices)
    elif "enum" in field:
        said = ", ".join(str(value) for value in field["enum"])
    else:
        said = str(field.get("type", "anything"))
    bounds = [
        f"{sign} {field[name]}"
        for name, sign in (("minimum", "≥"), ("maximum", "≤"), ("maxLength", "up to"))
        if name in field
    ]
    default = [f"default {field['default']}"] if field.get("default") is not None else []
    return ", ".join([said, *bounds, *default])


def _resolved(schema: Schema, document: Schema) -> Schema:
    reference = schema.get("$ref", "")
    found: Any = document if reference else schema
    for part in reference.split("/")[1:]:
        found = found[part]
    assert isinstance(found, dict)
    return found


def _table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    top = "".join(f"<th>{escape(head)}</th>" for head in heads)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><tr>{top}</tr>{body}</table>"
