"""Long texts and large pictures, off the engine's turn: read beside it while others go on.

A prompt of 32,000 characters takes a tokenizer up to 0.1 s, some pipelines read each several
times, and what they do with the result is theirs; so it is with pictures that are scaled and
made tensors of. The very call that a pipeline makes is made by another thread, and the sample
is resumed with what came of it.
"""

import functools
import itertools
import queue
import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import FunctionType, MethodType
from typing import Any, TypeVar

import greenlet
from PIL import Image
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from gateway.engine.pipelines.hearing import Hearing
from gateway.engine.pipelines.parking import SampleGreenlet

METHODS = ("__call__", "tokenize", "batch_decode")
SHORT = 1000
"""Characters, or tokens, that take about as long as telling a thread of them."""

PIXELS = 250
"""Of a picture, that take as long as a character."""

T = TypeVar("T")


class Reading:
    """A call that a sample waits for; `size` says how long it is."""

    def __init__(
        self, size: int, work: Callable[[], Any], lock: AbstractContextManager[Any]
    ) -> None:
        self.size = size
        self._work = work
        self._lock = lock

    def read(self) -> tuple[Any, Exception | None]:
        """Make the call: its result, or what it raised."""
        with self._lock:
            try:
                return self._work(), None
            except Exception as error:
                return None, error


class Reader:
    """A thread that makes such calls, the shortest first."""

    def __init__(self) -> None:
        self._arrivals = itertools.count()
        self._due: queue.PriorityQueue[tuple[int, int, Reading, Callable[..., None]]]
        self._due = queue.PriorityQueue()
        threading.Thread(target=self._run, name="reader", daemon=True).start()

    def add(self, reading: Reading, then: Callable[[Any, Exception | None], None]) -> None:
        """Make a call as soon as may be; `then` is given its end in the reader's thread."""
        self._due.put((reading.size, next(self._arrivals), reading, then))

    def _run(self) -> None:
        while True:
            _, _, reading, then = self._due.get()
            then(*reading.read())


@functools.cache
def reader() -> Reader:
    """The process's one reader."""
    return Reader()


def set_aside(tokenizer: Any) -> None:
    """Have a tokenizer's long calls leave the samples that make them waiting."""
    kind = type(tokenizer)
    if not hasattr(kind, "is_set_aside"):
        desk = _Desk()
        methods = {name: _aside(getattr(kind, name), desk) for name in METHODS}
        tokenizer.__class__ = type(kind.__name__, (kind,), methods | {"is_set_aside": True})


def take_back(tokenizer: Any) -> None:
    """Give a tokenizer its own class back."""
    if hasattr(type(tokenizer), "is_set_aside"):
        tokenizer.__class__ = type(tokenizer).__base__


def beside(num_pixels: int, work: Callable[[], T]) -> T:
    """What comes of work on so many pixels, while others go on if they are many."""
    current, size = greenlet.getcurrent(), num_pixels // PIXELS
    if size <= SHORT or not isinstance(current, SampleGreenlet):
        return work()
    assert current.parent is not None
    found: T = current.parent.switch(Reading(size, work, nullcontext()))
    return found


@functools.cache
def beside_turns(kind: Hashable) -> type:
    """A class whose methods do work on large pictures beside the turns."""
    assert isinstance(kind, type)

    def found(self: Any, name: str) -> Any:
        value = object.__getattribute__(self, name)
        is_method = isinstance(value, FunctionType | MethodType) and not name.startswith("__")
        return functools.partial(_on_pictures, value) if is_method else value

    return type(kind.__name__, (kind,), {"__getattribute__": found})


def _on_pictures(method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return beside(_pixels((args, kwargs)), functools.partial(method, *args, **kwargs))


def _pixels(value: Any) -> int:
    """Of the pictures in a call's arguments."""
    if isinstance(value, Image.Image):
        return value.width * value.height
    if isinstance(value, dict):
        return sum(map(_pixels, value.values()))
    return sum(map(_pixels, value)) if isinstance(value, list | tuple) else 0


def tokenizers_of(components: dict[str, Any]) -> list[Any]:
    """The tokenizers among a pipeline's components, also those inside of processors."""
    found = [getattr(part, "tokenizer", part) for part in components.values()]
    return [part for part in found if isinstance(part, PreTrainedTokenizerBase)]


class _Desk:
    """One tokenizer, which whoever is at it has told how to pad and cut."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.is_read_here = False
        """Whether a sample has it, whose calls may call others."""

    @contextmanager
    def here(self) -> Iterator[None]:
        """Read on the engine's thread; the lock has been taken."""
        self.is_read_here = True
        try:
            yield
        finally:
            self.is_read_here = False
            self.lock.release()


def _aside(method: Callable[..., Any], desk: _Desk) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(tokenizer: Any, *args: Any, **kwargs: Any) -> Any:
        current = greenlet.getcurrent()
        if not isinstance(current, SampleGreenlet) or desk.is_read_here:
            return method(tokenizer, *args, **kwargs)
        size = _size(args) + _size(kwargs)
        work = functools.partial(_heard, current.hearing, method, tokenizer, *args, **kwargs)
        if size <= SHORT and desk.lock.acquire(blocking=False):
            with desk.here():
                return work()
        assert current.parent is not None
        return current.parent.switch(Reading(size, work, desk.lock))

    return call


def _heard(
    hearing: Hearing | None, method: Callable[..., Any], tokenizer: Any, *args: Any, **kwargs: Any
) -> Any:
    """A call's result, which whoever listens hears of."""
    result = method(tokenizer, *args, **kwargs)
    if hearing is not None and method.__name__ == "__call__":
        hearing.note(tokenizer, args[0] if args else kwargs.get("text"), result)
    return result


def _size(value: Any) -> int:
    """The characters and tokens in a call's arguments."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Tensor):
        return value.numel()
    if isinstance(value, dict):
        return sum(map(_size, value.values()))
    if isinstance(value, list | tuple):
        return sum(map(_size, value))
    return 1 if isinstance(value, int) else 0
