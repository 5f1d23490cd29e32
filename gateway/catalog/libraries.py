"""Which classes and packages there are, found out without importing anything heavy."""

import re
from functools import cache
from importlib import import_module
from importlib.util import find_spec

from gateway.catalog.stock import diffusers_folder

NO_MODULE = (
    "Scheduler", "Tokenizer", "TokenizerFast", "Backend", "Processor", "Extractor", "Guidance",
)  # fmt: skip
"""How classes end of parts that have no weights."""

PACKAGES = {
    "bitsandbytes": "bitsandbytes",
    "gguf": "gguf",
    "quanto": "optimum-quanto",
    "torchao": "torchao",
}
"""The extra of this project, and its package, for each way of packing weights."""


@cache
def diffusers_names() -> frozenset[str]:
    """The classes that diffusers has, by its own list."""
    place = diffusers_folder()
    text = (place / "__init__.py").read_text() if place else ""
    return frozenset(re.findall(r'"(\w+)"', text))


@cache
def transformers_names() -> frozenset[str]:
    """The classes that transformers has; it lists them before it imports any."""
    if find_spec("transformers") is None:
        return frozenset()
    return frozenset(dir(import_module("transformers")))


@cache
def transformers_has(name: str) -> bool:
    """Whether there is a class of a name, listed or made up when it is asked for."""
    if name in transformers_names():
        return True
    try:
        return hasattr(import_module("transformers"), name)
    except (ImportError, RuntimeError):  # what it needs is missing: it is there
        return True


def library_of(cls: str) -> str:
    """Which of the two libraries has a class; diffusers where neither does."""
    return "transformers" if cls not in diffusers_names() and transformers_has(cls) else "diffusers"


def lacking_package(method: str) -> str | None:
    """The package that a way of packing weights needs and that is not installed."""
    package = PACKAGES.get(method)
    if package is None:
        return None
    name = package.replace("-", ".")
    try:
        return None if find_spec(name) else package
    except ModuleNotFoundError:
        return package
