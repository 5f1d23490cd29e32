"""The blocks that a model repeats, compiled once for all of them.

The engine's thread never compiles: its blocks run what is compiled already, and as they are
where nothing is. What they lack a thread beside compiles, by running a twin of the module that
has the same weights; compiled code is looked up by what it is given, and the twin's serves the
module. Sizes that change become symbols, so that after two of them no third is compiled.
"""

import copy
import functools
import os
import queue
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from itertools import chain
from typing import Any

import structlog
import torch
from torch import Tensor, nn

from gateway.engine.adapters.adapters import Adapters
from gateway.engine.forwards.graphs import fresh, signature_of
from gateway.engine.pipelines.merge import batch_of
from gateway.engine.pipelines.parking import Entry

NUM_SHAPES = 64
"""Forms of one block's code kept; torch's own limit of 8 would end with the fifth picture size."""
MANY_ROWS = (2, 3)
"""After two numbers of rows, of which none is one, any is compiled."""

log = structlog.get_logger()


class RegionalLane:
    """An entry point whose module's repeated blocks are compiled."""

    def __init__(self, entry: Entry, kinds: set[type]) -> None:
        self._entry = entry
        self._kinds = kinds
        self._asked: set[Hashable] = set()
        self._is_on = False
        self.has_failed = False
        for block in self._blocks(entry.module):
            vars(block)["_compiled_call_impl"] = functools.partial(
                self._call, torch._dynamo.run(block._call_impl), block._call_impl
            )

    @classmethod
    def of(cls, entry: Entry) -> "RegionalLane | None":
        """The lane of an entry point; None where nothing repeats, or nothing compiles."""
        if not has_compiler(next(entry.module.parameters()).device):
            log.warning("no C++ compiler: it runs as it is", entry=str(entry))
            return None
        kinds = repeated(entry.module)
        return cls(entry, kinds) if kinds else None

    def run(self, adapters: Adapters, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a call on what is compiled, and have compiled what is not."""
        form = None if self.has_failed else adapters.take_form()
        if form is None:
            return self._entry.original(*args, **kwargs)
        self._is_on = True
        try:
            result = self._entry.original(*args, **kwargs)
        finally:
            self._is_on = False
        self._ask(form, adapters, args, kwargs)
        return result

    def prepare(self) -> bool:
        """Nothing is left to the engine's thread."""
        return False

    def close(self) -> None:
        """Have the blocks run as they are."""
        for block in self._blocks(self._entry.module):
            vars(block).pop("_compiled_call_impl", None)

    def _call(
        self, compiled: Callable[..., Any], plain: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Any:
        return (compiled if self._is_on else plain)(*args, **kwargs)

    def _ask(
        self, form: Hashable, adapters: Adapters, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        """Have a form of calls compiled, once; those of many rows by a few of them."""
        whole = (form, signature_of((args, kwargs)))
        if None in whole or whole in self._asked:
            return
        rows = batch_of(args, kwargs).rows
        least = (form, signature_of(_rows_of((args, kwargs), rows, min(rows, MANY_ROWS[0]))))
        is_known = least in self._asked
        self._asked |= {whole, least}
        if is_known:
            return
        for few in MANY_ROWS if rows > 1 else (1,):
            work = functools.partial(
                self._compile, torch.get_num_threads(), adapters.of_few(few),
                *_rows_of((args, kwargs), rows, few),
            )  # fmt: skip
            _compiler().add(work)

    def _compile(
        self, threads: int, others: dict[int, Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        """Run the module's twin, whose blocks compile what they meet."""
        torch.set_num_threads(threads)  # compiled code is for so many
        try:
            twin = twin_of(self._entry.module, others)
            for block in self._blocks(twin):
                vars(block)["_compiled_call_impl"] = torch.compile(block._call_impl)
            with torch.inference_mode():
                getattr(twin, self._entry.method)(*args, **kwargs)
        except Exception as error:
            self.has_failed = True
            log.warning("not compiled: it runs as it is", entry=str(self._entry), fault=str(error))

    def _blocks(self, module: nn.Module) -> Iterator[Any]:
        return (block for block in module.modules() if type(block) in self._kinds)


class Compiler:
    """A thread that compiles, one thing after another."""

    def __init__(self) -> None:
        self._due: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._num_open = 0
        self._changed = threading.Condition()
        threading.Thread(target=self._run, name="compiler", daemon=True).start()

    def add(self, work: Callable[[], None]) -> None:
        """Compile something as soon as may be."""
        with self._changed:
            self._num_open += 1
        self._due.put(work)

    def wait(self, seconds: float) -> bool:
        """Wait until nothing is left to compile; false where that takes longer."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._num_open, seconds)

    def _run(self) -> None:
        torch._dynamo.config.recompile_limit = NUM_SHAPES  # of this thread
        while True:
            self._due.get()()
            with self._changed:
                self._num_open -= 1
                self._changed.notify_all()


@functools.cache
def _compiler() -> Compiler:
    return Compiler()


def is_compiled(seconds: float) -> bool:
    """Wait until all that was asked for is compiled; false where that takes longer."""
    return _compiler().wait(seconds)


def repeated(module: nn.Module) -> set[type]:
    """The classes of a module's repeated blocks: those it names, or the innermost in its lists."""
    if names := getattr(module, "_repeated_blocks", None):
        return {type(one) for one in module.modules() if type(one).__name__ in names}
    lists = (one for one in module.modules() if isinstance(one, nn.ModuleList))
    counted = Counter(type(block) for one in lists for block in one)
    kinds = {
        kind
        for kind, number in counted.items()
        if number > 1 and not kind.__module__.startswith("torch.nn")
    }
    return {kind for kind in kinds if not _holds(module, kind, kinds)}


def has_compiler(device: torch.device) -> bool:
    """Whether code can be compiled for a device: for a CPU by a C++ compiler."""
    return device.type != "cpu" or shutil.which(os.environ.get("CXX") or "g++") is not None


def twin_of(module: nn.Module, others: dict[int, Any]) -> Any:
    """A module of the same weights and buffers and nothing else: neither parked nor hooked.

    `others` are what it has in the place of objects, by their ids.
    """
    shared: dict[int, Any] = {id(one): one for one in chain(module.parameters(), module.buffers())}
    hooks = (hook for one in module.modules() for hook in one._forward_hooks.values())
    bare = copy.copy(module)
    for name in [name for name, value in vars(module).items() if isinstance(value, Entry)]:
        del vars(bare)[name]
    return copy.deepcopy(bare, shared | others | {id(hook): _nothing for hook in hooks})


def _nothing(*_: Any) -> None:
    pass


def _holds(module: nn.Module, kind: type, kinds: set[type]) -> bool:
    """Whether modules of a class hold any of these classes."""
    return any(
        type(inner) in kinds
        for one in module.modules()
        if type(one) is kind
        for inner in one.modules()
        if inner is not one
    )


def _rows_of(value: Any, rows: int, few: int) -> Any:
    """A call's arguments as if it had a few rows, with generators of their own."""
    match value:
        case Tensor() if value.ndim and value.shape[0] == rows:
            return value[[min(row, rows - 1) for row in range(few)]]
        case torch.Generator():
            return fresh(value.device)
        case list() if len(value) == rows and isinstance(value[0], Tensor | torch.Generator):
            return [_rows_of(value[min(row, rows - 1)], 0, few) for row in range(few)]
        case list() | tuple():
            return type(value)(_rows_of(one, rows, few) for one in value)
        case dict():
            return {name: _rows_of(one, rows, few) for name, one in value.items()}
    return value
