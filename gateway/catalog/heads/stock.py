"""What diffusers' own source says of a pipeline's class, read without importing it.

The import takes seconds and torch; the text of one file takes milliseconds.
"""

import ast
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import msgspec

SAMPLE_SIZE = "default_sample_size"


class Stock(msgspec.Struct, frozen=True):
    """Defaults of a pipeline: of its call, and the edge of latents where no config has one.

    None is what the class does not say.
    """

    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    sample_size: int | None = None


@cache
def diffusers_folder() -> Path | None:
    """Where diffusers lies; None where it is not installed."""
    spec = find_spec("diffusers")
    return Path(spec.origin).parent if spec and spec.origin else None


@cache
def stock_of(pipeline: str) -> Stock:
    """What the class of a name says; nothing where diffusers has no such class."""
    place, head = diffusers_folder(), re.compile(rf"^class {re.escape(pipeline)}[(:]", re.M)
    for file in sorted(place.glob("pipelines/**/pipeline_*.py")) if place else ():
        text = file.read_text()
        if head.search(text):
            for node in ast.parse(text).body:
                if isinstance(node, ast.ClassDef) and node.name == pipeline:
                    return _read(node)
    return Stock()


def _read(pipeline: ast.ClassDef) -> Stock:
    defaults: dict[str, object] = {}
    for node in ast.walk(pipeline):
        match node:
            case ast.FunctionDef(name="__call__", args=args):
                named = args.args[len(args.args) - len(args.defaults) :]
                values = [*args.defaults, *args.kw_defaults]
                for argument, value in zip((*named, *args.kwonlyargs), values, strict=True):
                    if isinstance(value, ast.Constant):
                        defaults[argument.arg] = value.value
            case ast.Assign(targets=[ast.Attribute(attr=name)], value=value) if name == SAMPLE_SIZE:
                defaults[name] = _last_number(value)
    steps, guidance = defaults.get("num_inference_steps"), defaults.get("guidance_scale")
    size = defaults.get(SAMPLE_SIZE)
    return Stock(
        steps if isinstance(steps, int) else None,
        float(guidance) if isinstance(guidance, int | float) else None,
        size if isinstance(size, int) else None,
    )


def _last_number(value: ast.expr) -> int | None:
    """The number that stands there, or that is taken where a config has none."""
    numbers = [
        node.value
        for node in ast.walk(value)
        if isinstance(node, ast.Constant) and type(node.value) is int
    ]
    return numbers[-1] if numbers else None
