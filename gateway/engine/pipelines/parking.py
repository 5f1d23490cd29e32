"""Where a stock pipeline meets the hub: its modules' entry points park the call.

Inside a sample's greenlet a parked entry point hands the call to the hub and switches
away; the hub resumes it with the result. Anywhere else it calls straight through.
"""

import functools
import inspect
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any

import greenlet
import torch

from gateway.engine.pipelines.hearing import Hearing
from gateway.engine.pipelines.merge import group_key
from gateway.engine.pipelines.shared import Sharer

METHODS = ("encode", "decode")
"""Entry points of autoencoders; every module has `forward` besides."""


class Entry:
    """One entry point of one module: the name the pipeline calls, and what stood there.

    `lane` is how its forwards are compiled; one that `is_invariant` has all of one size. From as
    many pixels as `tiles_from` says, pictures are read and decoded in tiles, `tile_shrink` times
    smaller than the module's own. One forward is given pictures of `pixels_at_once` at most.
    """

    def __init__(self, component: str, module: torch.nn.Module, method: str) -> None:
        self.component = component
        self.module = module
        self.method = method
        self.original: Callable[..., Any] = getattr(module, method)
        self.is_parked = False
        self.lane = "none"
        self.is_invariant = False
        self.tiles_from: int | None = None
        self.tile_shrink = 1
        self.pixels_at_once: int | None = None

    def __str__(self) -> str:
        return f"{self.component}.{self.method}"

    @property
    def is_last(self) -> bool:
        """Whether pictures end with it: a decoder's."""
        return self.method == "decode"

    def most_at_once(self, pixels: int) -> int | None:
        """How many pictures of so many pixels one forward is given at most; None for any number."""
        return None if self.pixels_at_once is None else max(1, self.pixels_at_once // pixels)

    def park(self) -> None:
        """Replace the entry point; hooks installed before stay inside the original."""
        self.original = getattr(self.module, self.method)
        # Some pipelines look at it to learn what a module takes.
        self.__signature__ = inspect.signature(self.original)
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
        if not isinstance(current, SampleGreenlet):
            return self.original(*args, **kwargs)
        if self.method in METHODS:
            args = tuple(_widened(value, self.module) for value in args)
        memory = current.memory
        if memory is not None and memory.can_recall(self):
            return memory.recall(self)
        assert current.parent is not None
        result = current.parent.switch(ParkedCall(self, args, kwargs))
        if memory is not None:
            memory.note(self, result)
        return result


class StillTo(Entry):
    """`module.to`, which does nothing when a sample calls it: the module is everyone's.

    Some pipelines cast the autoencoder to float32 around its use, and back.
    """

    def __init__(self, component: str, module: torch.nn.Module) -> None:
        super().__init__(component, module, "to")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if isinstance(greenlet.getcurrent(), SampleGreenlet):
            return self.module
        return self.original(*args, **kwargs)


class ParkedCall:
    """A call waiting for its forward."""

    def __init__(self, entry: Entry, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.entry = entry
        self.args = args
        self.kwargs = kwargs

    @functools.cached_property
    def key(self) -> Hashable:
        """Equal for calls of one entry point that can share a forward."""
        return group_key(self.args, self.kwargs)

    def again(self) -> Any:
        """Park it once more, in the sample's own greenlet; its result."""
        current = greenlet.getcurrent()
        assert current.parent is not None
        return current.parent.switch(self)


class Memory:
    """The first results of a sample's calls, to answer the same pipeline's second call.

    Decoders are never answered from memory.
    """

    NUM_KEPT = 4

    def __init__(self) -> None:
        self._results: dict[Entry, list[Any]] = {}
        self._num_recalled: Counter[Entry] = Counter()
        self._is_recalling = False

    @contextmanager
    def recalled(self) -> Iterator[None]:
        """Answer calls from memory, in the order in which they were first made."""
        self._num_recalled.clear()
        self._is_recalling = True
        try:
            yield
        finally:
            self._is_recalling = False

    def can_recall(self, entry: Entry) -> bool:
        """Whether a call is to be answered from memory, and can."""
        return self._is_recalling and entry in self._results

    def recall(self, entry: Entry) -> Any:
        """The next result; the last one again where there were more calls."""
        results = self._results[entry]
        position = min(self._num_recalled[entry], len(results) - 1)
        self._num_recalled[entry] += 1
        return results[position]

    def note(self, entry: Entry, result: Any) -> None:
        """Keep a result."""
        if self._is_recalling or entry.is_last:
            return
        results = self._results.setdefault(entry, [])
        if len(results) < self.NUM_KEPT:
            results.append(result)


class SampleGreenlet(Sharer):
    """A greenlet whose model calls are parked."""

    memory: Memory | None = None
    hearing: Hearing | None = None


def entries_of(components: dict[str, Any]) -> list[Entry]:
    """The entry points of every module among a pipeline's components."""
    entries = []
    for name, module in components.items():
        if not isinstance(module, torch.nn.Module):
            continue
        methods = [method for method in METHODS if callable(getattr(module, method, None))]
        entries += [Entry(name, module, method) for method in (methods or ["forward"])]
    return entries


def _widened(value: Any, module: torch.nn.Module) -> Any:
    """Half-precision input of an autoencoder that is kept in float32."""
    is_narrow = isinstance(value, torch.Tensor) and value.dtype in (torch.float16, torch.bfloat16)
    if is_narrow and next(module.parameters()).dtype == torch.float32:
        return value.float()
    return value


def _is_bound(function: Any, module: torch.nn.Module) -> bool:
    return getattr(function, "__self__", None) is module
