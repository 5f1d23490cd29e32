"""Where a stock pipeline meets the hub: its modules' entry points park the call.

Inside a sample's greenlet a parked entry point hands the call to the hub and switches
away; the hub resumes it with the result. Anywhere else it calls straight through.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import greenlet
import torch

METHODS = ("encode", "decode")
"""Entry points of autoencoders; every module has `forward` besides."""


class Entry:
    """One entry point of one module: the name the pipeline calls, and what stood there."""

    def __init__(self, component: str, module: torch.nn.Module, method: str) -> None:
        self.component = component
        self.module = module
        self.method = method
        self.original: Callable[..., Any] = getattr(module, method)
        self.is_parked = False

    def park(self) -> None:
        """Replace the entry point; hooks installed before stay inside the original."""
        self.original = getattr(self.module, self.method)
        setattr(self.module, self.method, self)
        self.is_parked = True

    def unpark(self) -> None:
        """Put the original back."""
        if not self.is_parked:
            return
        if hasattr(type(self.module), self.method) and _is_bound(self.original, self.module):
            delattr(self.module, self.method)
        else:
            setattr(self.module, self.method, self.original)
        self.is_parked = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        current = greenlet.getcurrent()
        if not isinstance(current, SampleGreenlet) or current.is_direct:
            return self.original(*args, **kwargs)
        assert current.parent is not None
        return current.parent.switch(ParkedCall(self, args, kwargs))


class ParkedCall:
    """A call waiting for its forward."""

    def __init__(self, entry: Entry, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.entry = entry
        self.args = args
        self.kwargs = kwargs


class SampleGreenlet(greenlet.greenlet):
    """A greenlet whose model calls are parked, unless `is_direct`."""

    is_direct = False


def entries_of(components: dict[str, Any]) -> list[Entry]:
    """The entry points of every module among a pipeline's components."""
    entries = []
    for name, module in components.items():
        if not isinstance(module, torch.nn.Module):
            continue
        methods = [method for method in METHODS if callable(getattr(module, method, None))]
        entries += [Entry(name, module, method) for method in (methods or ["forward"])]
    return entries


@contextmanager
def unparked(entries: list[Entry]) -> Iterator[None]:
    """Have the modules as the libraries know them, while hooks or LoRA layers change."""
    for entry in entries:
        entry.unpark()
    try:
        yield
    finally:
        for entry in entries:
            entry.park()


def _is_bound(function: Any, module: torch.nn.Module) -> bool:
    return getattr(function, "__self__", None) is module
