"""An inferred card as text that somebody can read and edit."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from gateway.catalog.cards import CardError, EndpointCard
from gateway.catalog.drafts.inferred import Inferred, Told

NAMELESS = "FILE"
"""Stands in a comment where a file is to be named."""


class Draft(NamedTuple):
    """What a card is written of: where the weights come from, and what would hold of them.

    `config` and `components` are those of a single file; a component of None is said in a
    comment alone, and comes from where the configs do.
    """

    source: str
    inferred: Inferred
    config: Told[str] | None = None
    components: Mapping[str, Told[str | None]] = {}
    homepage: str | None = None

    def text(self, id: str) -> str:
        """The card's TOML: each value with why it is that, and which are guesses.

        Raises:
            CardError: that is no id for an endpoint.
        """
        lines = [f"id = {_toml(id)}", f"source = {_toml(self.source)}"]
        lines += [f"homepage = {_toml(self.homepage)}"] if self.homepage else []
        for name, told in self._told():
            mark, value = ("", told.value) if told.value is not None else ("# ", NAMELESS)
            lines += [f"\n# {_origin(told)}", f"{mark}{name} = {_toml(value)}"]
        text = "\n".join(lines) + "\n"
        try:
            msgspec.toml.decode(text, type=EndpointCard)
        except msgspec.ValidationError as error:
            raise CardError(f"'{id}' is no id for an endpoint: {error}") from None
        return text

    def lines(self) -> list[str]:
        """What was found and what was guessed, a line each."""
        return [
            f"{name} = {'nothing' if told.value is None else _toml(told.value)}  ({_origin(told)})"
            for name, told in self._told()
        ]

    def _told(self) -> Iterator[tuple[str, Told[Any]]]:
        """Every key that the card names or might."""
        if self.config is not None:
            yield "config", self.config
        yield from ((f"components.{name}", told) for name, told in self.components.items())
        for name, told in msgspec.structs.asdict(self.inferred).items():
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
