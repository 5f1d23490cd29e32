"""Sizes: of pictures, of a shape and a number of pixels, and calculated with."""

import math
from typing import Any

from gateway.runs.graph.arithmetic import calculated
from gateway.runs.graph.definition import (
    ANY,
    Definition,
    Input,
    label,
    left_out,
    one_of,
    real,
    text,
    whole,
)
from gateway.runs.graph.scope import Compile, Node, Scope
from gateway.runs.graph.values import Edge, Picture

ASPECTS = {
    "1:1 (Square)": (1, 1),
    "3:2 (Photo)": (3, 2),
    "4:3 (Standard)": (4, 3),
    "16:9 (Widescreen)": (16, 9),
    "21:9 (Ultrawide)": (21, 9),
    "2:3 (Portrait Photo)": (2, 3),
    "3:4 (Portrait Standard)": (3, 4),
    "9:16 (Portrait Widescreen)": (9, 16),
}
OPERANDS = "abcdefghijklmnop"
PIXELS = 2**20
"""Of a megapixel, as ComfyUI counts them."""

MEASURES = {
    "GetImageSize": Definition({"image": Input("IMAGE")}, ("INT", "INT", "INT")),
    "ResolutionSelector": Definition(
        {
            "aspect_ratio": one_of(*ASPECTS),
            "megapixels": real(1.0, 0.1, 16),
            "multiple": left_out(whole(8, 8, 128)),
        },
        ("INT", "INT"),
    ),
    "ComfyMathExpression": Definition(
        {"expression": label("")}
        | {f"values.{name}": left_out(Input(ANY)) for name in OPERANDS},
        ("FLOAT", "INT", "BOOLEAN"),
    ),
    "PreviewAny": Definition({"source": Input(ANY)}, (ANY,)),
    "ComfyNumberConvert": Definition({"value": Input(ANY)}, ("FLOAT", "INT")),
    "StringReplace": Definition(
        {"string": text(), "find": text(), "replace": text()}, ("STRING",)
    ),
}


def measure(node: Node, scope: Scope) -> tuple[int | Edge, int | Edge, int]:
    """GetImageSize: of a picture that is not there yet, what can be said of a latent's size."""
    picture: Picture = node["image"]
    if picture.size is None:
        return Edge(picture, "width"), Edge(picture, "height"), picture.num_images
    return *picture.size, picture.num_images


def select(node: Node, scope: Scope) -> tuple[int, int]:
    """ResolutionSelector: so many pixels in a shape."""
    width, height = ASPECTS[node["aspect_ratio"]]
    unit = node["multiple"]
    factor = math.sqrt(node["megapixels"] * PIXELS / (width * height)) / unit
    return round(width * factor) * unit, round(height * factor) * unit


def calculate(node: Node, scope: Scope) -> tuple[float, int, bool]:
    """ComfyMathExpression."""
    given = {name: node.get(f"values.{name}") for name in OPERANDS}
    names = {name: value for name, value in given.items() if isinstance(value, int | float)}
    try:
        found = calculated(node["expression"], names)
        return found, int(found), bool(found)
    except (ValueError, OverflowError) as error:
        raise node.refuse("expression", str(error)) from None


def preview(node: Node, scope: Scope) -> tuple[Any]:
    """PreviewAny: what it shows, it hands on."""
    return (node["source"],)


def convert(node: Node, scope: Scope) -> tuple[float, int]:
    """ComfyNumberConvert."""
    try:
        found = float(node["value"])
        return found, int(found)
    except (TypeError, ValueError, OverflowError):
        raise node.refuse("value", "a number is wanted") from None


def replace(node: Node, scope: Scope) -> tuple[str]:
    """StringReplace."""
    given, sought, instead = (node[name] for name in ("string", "find", "replace"))
    grown = given.count(sought) * max(0, len(instead) - len(sought))
    scope.tally.length("replace", len(given) + grown)
    return (given.replace(sought, instead),)


COMPILERS: dict[str, Compile] = {
    "GetImageSize": measure,
    "ResolutionSelector": select,
    "ComfyMathExpression": calculate,
    "PreviewAny": preview,
    "ComfyNumberConvert": convert,
    "StringReplace": replace,
}
