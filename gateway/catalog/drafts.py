"""An inferred card as text that somebody can read and edit."""

import json
from collections.abc import Iterator
from typing import Any

import msgspec

from gateway.catalog.cards import CardError, EndpointCard
from gateway.catalog.inferred import Inferred, Told


def draft(inferred: Inferred, id: str, source: str, homepage: str | None = None) -> str:
    """The card's TOML: each value with why it is that, and which are guesses.

    Raises:
        CardError: that is no id for an endpoint.
    """
    lines = [f"id = {_toml(id)}", f"source = {_toml(source)}"]
    lines += [f"homepage = {_toml(homepage)}"] if homepage else []
    for name, told in _told(inferred):
        lines += [f"\n# {_origin(told)}", f"{name} = {_toml(told.value)}"]
    text = "\n".join(lines) + "\n"
    try:
        msgspec.toml.decode(text, type=EndpointCard)
    except msgspec.ValidationError as error:
        raise CardError(f"'{id}' is no id for an endpoint: {error}") from None
    return text


def lines_of(inferred: Inferred) -> list[str]:
    """What was found and what was guessed, a line each."""
    return [f"{name} = {_toml(told.value)}  ({_origin(told)})" for name, told in _told(inferred)]


def _told(inferred: Inferred) -> Iterator[tuple[str, Told[Any]]]:
    """Every key that the card names."""
    for name, told in msgspec.structs.asdict(inferred).items():
        if told.value is not None:
            yield name, told


def _origin(told: Told[Any]) -> str:
    return f"{'guessed' if told.is_guess else 'found'}: {told.why}"


def _toml(value: object) -> str:
    """A value in TOML, on one line; what is empty is left out of tables."""
    if isinstance(value, msgspec.Struct):
        inner = msgspec.structs.asdict(value).items()
        said = [(name, each) for name, each in inner if not (each is None or each is False)]
        return f"{{ {', '.join(f'{name} = {_toml(each)}' for name, each in said if each != ())} }}"
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value)
