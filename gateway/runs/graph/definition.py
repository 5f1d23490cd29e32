"""What a class of nodes takes and gives."""

import math
from typing import Any

import msgspec

ANY = "*"
LABEL_CHARACTERS = 1000
LITERALS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")


class Input(msgspec.Struct, frozen=True):
    """One input of a node.

    `type` is a ComfyUI type; COMBO takes one of `options`, where None means that the
    catalogue decides. `default` is what an optional input means when it is left out;
    elsewhere it is what ComfyUI's editor begins with. No text is longer than a prompt may be,
    some are bound by less.
    """

    type: str
    default: Any = msgspec.UNSET
    min: float = -math.inf
    max: float = math.inf
    options: tuple[str, ...] | None = None
    max_characters: float = math.inf
    optional: bool = False
    measured: bool = False
    """Whether it may be an edge of a picture whose size is not known yet."""

    @property
    def is_required(self) -> bool:
        """Whether a graph without it is at fault, as ComfyUI sees it."""
        return not self.optional

    @property
    def is_literal(self) -> bool:
        """Whether a value may be written into the graph rather than linked."""
        return self.type in LITERALS


class Definition(msgspec.Struct, frozen=True):
    """A class of nodes; `is_output` marks those that make a graph do anything."""

    inputs: dict[str, Input]
    outputs: tuple[str, ...] = ()
    is_output: bool = False


def whole(default: int, low: float = -math.inf, high: float = math.inf) -> Input:
    """A whole number."""
    return Input("INT", default, low, high)


def edge(default: int, low: int = 16) -> Input:
    """An edge of a picture to be, in pixels."""
    return Input("INT", default, low, 16_384, measured=True)


def real(default: float, low: float = -math.inf, high: float = math.inf) -> Input:
    """A number."""
    return Input("FLOAT", default, low, high)


def text(default: str | msgspec.UnsetType = msgspec.UNSET) -> Input:
    """Text."""
    return Input("STRING", default)


def label(default: str = "") -> Input:
    """Text of a line, that names something."""
    return Input("STRING", default, max_characters=LABEL_CHARACTERS)


def one_of(*options: str) -> Input:
    """One of a few words, the first by default."""
    return Input("COMBO", options[0], options=options)


def left_out(given: Input) -> Input:
    """The same input, which may be left out."""
    return msgspec.structs.replace(given, optional=True)
