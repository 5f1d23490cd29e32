"""Command-line options made from the settings, so that flag, variable and help stand once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec

from gateway.settings import DATA, Settings, fields, parsed_value, variable

Command = Callable[..., Any]


def setting_options(*names: str) -> Callable[[Command], Command]:
    """Decorate a command with the options of the named settings; all of them without names."""
    chosen = [
        field
        for field in fields()
        if field.name != "endpoints" and (not names or field.name in names)
    ]

    def decorate(command: Command) -> Command:
        for field in reversed(chosen):
            command = _option(field)(command)
        return command

    return decorate


def _option(field: msgspec.inspect.Field) -> Callable[[Command], Command]:
    assert isinstance(field.type, msgspec.inspect.Metadata)
    kind, schema = field.type.type, field.type.extra_json_schema or {}
    flag = "--" + field.name.replace("_", "-")
    text = f"{schema['description']}  [{variable(field.name)}; default: {default_of(field.name)}]"
    if isinstance(kind, msgspec.inspect.BoolType):
        negative = flag.replace("--no-", "--") if flag.startswith("--no-") else f"--no-{flag[2:]}"
        return click.option(f"{flag}/{negative}", field.name, default=None, help=text)
    return click.option(
        flag,
        field.name,
        default=None,
        metavar=_metavar(kind),
        help=text,
        callback=lambda _context, _parameter, value: (
            None if value is None else parsed_value(kind, value)
        ),
    )


def _metavar(kind: msgspec.inspect.Type) -> str:
    match kind:
        case msgspec.inspect.IntType():
            return "N"
        case msgspec.inspect.FloatType():
            return "NUMBER"
        case msgspec.inspect.VarTupleType():
            return "A,B"
        case msgspec.inspect.DictType():
            return "A=B,…"
        case _:
            return "TEXT"


def default_of(name: str) -> str:
    """What a setting is without being set, as a person reads it."""
    match getattr(Settings(), name):
        case None | () | "":
            return "none"
        case dict():
            return "none"
        case tuple() as items:
            return ",".join(items)
        case bool() as on:
            return "on" if on else "off"
        case Path() as path:
            return DATA if path == Settings().data else str(path)
        case value:
            return str(value)
