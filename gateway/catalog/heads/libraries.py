"""Which classes and packages there are, found out without importing anything heavy."""

import re
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from os.path import exists

from gateway.catalog.heads.stock import diffusers_folder

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

WANTS_GPU = ("bitsandbytes",)
GPUS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg", "/dev/dri/renderD128")
"""What Linux shows of one: Nvidia's, AMD's, Windows', Intel's."""


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


def lacking(method: str) -> str | None:
    """What a way of packing weights needs and this machine has not."""
    needs = []
    if method in WANTS_GPU and not any(map(exists, GPUS)):
        needs.append("a GPU, of which this machine shows none")
    package = PACKAGES.get(method)
    if package is not None and not _is_installed(package.replace("-", ".")):
        needs.append(f"the package '{package}', which is not installed")
    return " and ".join(needs) or None


def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # of what it lies in
        return False
