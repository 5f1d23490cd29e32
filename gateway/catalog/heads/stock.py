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

_PICTURES = {"images", "image"}
_OTHERS = {
    "frames": "videos", "video": "videos", "videos": "videos", "audios": "sounds", "texts": "texts",
}  # fmt: skip
"""What a pipeline makes, by what its call says that it gives back."""

_CLASS = re.compile(r"^class (\w+)[(:]", re.MULTILINE)


class Stock(msgspec.Struct, frozen=True):
    """Defaults of a pipeline: of its call, and the edge of latents where no config has one.

    `makes` is what it makes that is no picture. None is what the class does not say.
    """

    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    sample_size: int | None = None
    makes: str | None = None


@cache
def diffusers_folder() -> Path | None:
    """Where diffusers lies; None where it is not installed."""
    spec = find_spec("diffusers")
    return Path(spec.origin).parent if spec and spec.origin else None


@cache
def stock_of(pipeline: str) -> Stock:
    """What the class of a name says, or that of blocks; nothing where diffusers has none such."""
    file = _files().get(pipeline)
    for node in ast.parse(file.read_text()).body if file else ():
        if isinstance(node, ast.ClassDef) and node.name == pipeline:
            return _read(node)
    return Stock()


@cache
def _files() -> dict[str, Path]:
    """Where the classes of pipelines and of their blocks are."""
    place, found = diffusers_folder(), dict[str, Path]()
    for pattern in ("pipelines/**/pipeline_*.py", "modular_pipelines/**/modular_blocks_*.py"):
        for file in sorted(place.glob(pattern)) if place else ():
            for name in _CLASS.findall(file.read_text()):
                found.setdefault(name, file)
    return found


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
        _made(pipeline),
    )


def _made(pipeline: ast.ClassDef) -> str | None:
    """What a class makes that is no picture, by the names of what it gives back."""
    given: set[object] = set()
    for node in ast.walk(pipeline):
        match node:
            case ast.Return(value=ast.Call(func=ast.Name(id=kind), keywords=named)):
                given |= {each.arg for each in named} if kind.endswith("Output") else set()
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id="OutputParam")), args=[ast.Constant(value), *_]
            ):
                given.add(value)
    told = (made for name, made in _OTHERS.items() if name in given)
    return None if given & _PICTURES else next(told, None)


def _last_number(value: ast.expr) -> int | None:
    """The number that stands there, or that is taken where a config has none."""
    numbers = [
        node.value
        for node in ast.walk(value)
        if isinstance(node, ast.Constant) and type(node.value) is int
    ]
    return numbers[-1] if numbers else None
