"""The pages that the code writes: its routes, its settings and its cards."""

import inspect
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path

import msgspec
from msgspec.inspect import Field, Metadata, StructType, type_info

from gateway.app import create_app
from gateway.catalog import cards
from gateway.cli.options import default_of
from gateway.settings import Settings, fields, variable
from gateway.web.pages.reference import sections

CARDS = (
    cards.EndpointCard,
    cards.Component,
    cards.Steps,
    cards.Guidance,
    cards.Sizes,
    cards.Scheduler,
    cards.AdapterCard,
)


def api() -> str:
    """Every route, from the document that the gateway answers itself."""
    with tempfile.TemporaryDirectory() as folder:
        document = create_app(Settings(data=Path(folder))).openapi_schema.to_schema()
    return f"# API\n\n{document['info']['description']}\n\n{sections(document)}\n"


def settings() -> str:
    """Every setting, as `gateway serve --help` has them."""
    rows = [
        (_names(field), _meaning(field), f"`{default_of(field.name)}`") for field in fields()
    ]
    return f"# Settings\n\n{_table(('setting', 'meaning', 'default'), rows)}"


def card_fields() -> str:
    """Every field of a card, and what the code says of it."""
    return "# Cards\n\nA card is a TOML file.\n\n" + "\n".join(map(_section, CARDS))


def _names(field: Field) -> str:
    flag = field.name.replace("_", "-")
    flags = "" if field.name == "endpoints" else f"`--{flag}`<br>"
    return f"{flags}`{variable(field.name)}`"


def _meaning(field: Field) -> str:
    assert isinstance(field.type, Metadata)
    return str((field.type.extra_json_schema or {})["description"])


def _section(kind: type) -> str:
    about = type_info(kind)
    assert isinstance(about, StructType)
    asked = [field for field in about.fields if field.name != "path"]
    rows = [(f"`{field.name}`", f"`{_default(field)}`") for field in asked]
    paragraphs = re.sub(r"(?<!\n)\n *(?=\S)", " ", inspect.getdoc(kind) or "")
    return f"## {kind.__name__}\n\n{paragraphs}\n\n{_table(('field', 'default'), rows)}"


def _default(field: Field) -> str:
    if field.required:
        return "needed"
    made = field.default_factory is not msgspec.NODEFAULT
    value = field.default_factory() if made else field.default
    return msgspec.json.encode(value).decode()


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [heads, ("---",) * len(heads), *rows]
    return "".join(f"| {' | '.join(map(_cell, row))} |\n" for row in lines)


def _cell(text: str) -> str:
    return text.replace("|", r"\|")
