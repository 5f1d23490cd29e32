"""Forwards whose launches are recorded once, and replayed: a GPU's launches cost host time.

A recording reads and writes at fixed addresses. So each one has buffers of its own, which a
call's tensors are copied into, and its results are copied out before it is replayed again.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple, Protocol

import structlog
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only

from gateway.engine.adapters.adapters import Adapters, Rows
from gateway.engine.pipelines.parking import Entry

NUM_ASKED = 2
"""Calls of one form after which it is worth a recording."""
NUM_WANTED = 16
"""Forms that wait for a recording; more are recorded when they are asked for again."""

log = structlog.get_logger()


Key = tuple[Hashable, Hashable]
"""The adapters' form, and the arguments'."""


class Recording(Protocol):
    """What was recorded; `result` is where a replay leaves its results."""

    result: Any
    size_bytes: int

    def replay(self) -> None:
        """Launch it all again, on what is in the buffers now."""
        ...


class Recorder(Protocol):
    """What records a device's launches."""

    def record(self, run: Callable[[], Any]) -> Recording:
        """Run something whose tensors stay where they are, and record its launches."""
        ...


class Captures:
    """Recordings in memory, the least recently used dropped beyond a number of bytes."""

    def __init__(self) -> None:
        self.limit_bytes = float("inf")
        self._kept: OrderedDict[tuple[Entry, Hashable], Capture] = OrderedDict()

    @property
    def size_bytes(self) -> int:
        """What all of them take."""
        return sum(capture.size_bytes for capture in self._kept.copy().values())

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, entry: Entry, key: Hashable) -> "Capture | None":
        """One that is there, now the most recently used."""
        if (entry, key) not in self._kept:
            return None
        self._kept.move_to_end((entry, key))
        return self._kept[entry, key]

    def put(self, entry: Entry, key: Hashable, capture: "Capture") -> None:
        """Keep one, and let go of others while they are too much."""
        self._kept[entry, key] = capture
        while len(self._kept) > 1 and self.size_bytes > self.limit_bytes:
            self._kept.popitem(last=False)

    def forget(self, entry: Entry) -> None:
        """Let go of all of an entry point's."""
        for key in [key for key in self._kept if key[0] is entry]:
            del self._kept[key]


class Capture:
    """A recorded forward and the buffers that it reads."""

    def __init__(
        self, run: Callable[..., Any], recorder: Recorder, args: Any, kwargs: dict[str, Any]
    ) -> None:
        self._args, self._kwargs = own(args), own(kwargs)
        self._buffers = tensors_in((self._args, self._kwargs))
        self._recording = recorder.record(lambda: run(*self._args, **self._kwargs))
        if any(map(has_drawn, tree_leaves((self._args, self._kwargs)))):
            raise ValueError("it draws random numbers, which a replay would draw again")
        if signature_of(self._recording.result) is None:
            raise TypeError("its result is no plain structure of tensors")

    @property
    def size_bytes(self) -> int:
        """What it takes on the device."""
        return self._recording.size_bytes + sum(map(_size, self._buffers))

    def replay(self, args: Any, kwargs: dict[str, Any]) -> Any:
        """The forward's result for other tensors of the same form."""
        for buffer, value in zip(self._buffers, tensors_in((args, kwargs)), strict=True):
            buffer.copy_(value)
        self._recording.replay()
        return own(self._recording.result)


class Wanted(NamedTuple):
    """A form of calls that has no recording yet, and the latest such call."""

    adapters: Adapters
    rows: Rows
    args: Any
    kwargs: dict[str, Any]


class GraphLane:
    """An entry point whose forwards are replayed where they were recorded."""

    def __init__(self, entry: Entry, recorder: Recorder, captures: Captures) -> None:
        self._entry = entry
        self._recorder = recorder
        self._captures = captures
        self._asked: Counter[Key] = Counter()
        self._wanted: OrderedDict[Key, Wanted] = OrderedDict()
        self._has_failed = False

    def run(self, adapters: Adapters, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Replay a call's recording, or run it and note that there is none."""
        form = None if self._has_failed else adapters.take_form()
        signature = None if form is None else signature_of((args, kwargs))
        key = (form, signature)
        if capture := self._captures.get(self._entry, key):
            return capture.replay(args, kwargs)
        result = self._entry.original(*args, **kwargs)
        if signature is not None:
            self._asked[key] += 1
            if self._asked[key] >= NUM_ASKED and len(self._wanted) < NUM_WANTED:
                self._wanted[key] = Wanted(adapters, adapters.rows, args, kwargs)
        return result

    def prepare(self) -> bool:
        """Record the form that has waited longest; a device that cannot is not asked again."""
        if not self._wanted or self._has_failed:
            return False
        key, wanted = self._wanted.popitem(last=False)
        wanted.adapters.use(wanted.rows)
        try:
            if wanted.adapters.take_form() != key[0]:
                return True  # its adapters have gone, or lie elsewhere
            capture = Capture(self._entry.original, self._recorder, wanted.args, wanted.kwargs)
        except Exception as error:
            self._has_failed = True
            self._wanted.clear()
            log.warning("not recorded: it runs as it is", entry=str(self._entry), fault=str(error))
            return False
        finally:
            wanted.adapters.use(())
        self._asked.pop(key, None)
        self._captures.put(self._entry, key, capture)
        return True

    def close(self) -> None:
        """Let go of its recordings."""
        self._captures.forget(self._entry)


def signature_of(value: Any) -> Hashable | None:
    """What calls must have in common to be answered by one recording; None where none can be."""
    found: list[Hashable] = []
    return tuple(found) if _sign(value, found) else None


def _sign(value: Any, found: list[Hashable]) -> bool:
    match value:
        case Tensor():
            found.append((value.dtype, value.device, tuple(value.shape), value.stride()))
        case None | bool() | int() | float() | str() | torch.dtype() | torch.device():
            found.append((type(value), value))
        case torch.Generator():
            found.append((torch.Generator, value.device))
        case list() | tuple():
            found.append((type(value), len(value)))
            return all(_sign(item, found) for item in value)
        case dict():
            found.append(tuple(value))
            return all(_sign(item, found) for item in value.values())
        case _:
            return False
    return True


def own(value: Any) -> Any:
    """Arguments or results whose tensors and generators nobody else has."""
    value = tree_map_only(Tensor, Tensor.clone, value)
    return tree_map_only(torch.Generator, lambda one: fresh(one.device), value)


def fresh(device: torch.device) -> torch.Generator:
    """A random generator of a device that nobody has drawn from."""
    return torch.Generator(device).manual_seed(0)


def has_drawn(value: Any) -> bool:
    """Whether something is a generator, once fresh, that was drawn from."""
    return isinstance(value, torch.Generator) and not torch.equal(
        value.get_state(), fresh(value.device).get_state()
    )


def tensors_in(value: Any) -> list[Tensor]:
    """The tensors of a call's arguments, in their order."""
    match value:
        case Tensor():
            return [value]
        case list() | tuple():
            return [tensor for item in value for tensor in tensors_in(item)]
        case dict():
            return [tensor for item in value.values() for tensor in tensors_in(item)]
        case _:
            return []


def recorder_of(device: torch.device) -> Recorder | None:
    """What records a device's launches, where it can."""
    return CudaRecorder(device) if device.type == "cuda" else None


class CudaRecorder:
    """CUDA graphs, all of one device in one pool of memory."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool: Any = None

    def record(self, run: Callable[[], Any]) -> "CudaRecording":
        """Run once as a rehearsal, where libraries take their workspaces, and once to record."""
        stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(stream):
            run()
        torch.cuda.current_stream(self._device).wait_stream(stream)
        before = torch.cuda.memory_reserved(self._device)
        graph = torch.cuda.CUDAGraph()
        # Other threads may use the device meanwhile: adapters are read, pictures are copied.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            result = run()
        self._pool = self._pool or graph.pool()
        size_bytes = max(0, torch.cuda.memory_reserved(self._device) - before)
        return CudaRecording(graph, result, size_bytes)


class CudaRecording:
    """A CUDA graph."""

    def __init__(self, graph: torch.cuda.CUDAGraph, result: Any, size_bytes: int) -> None:
        self._graph = graph
        self.result = result
        self.size_bytes = size_bytes

    def replay(self) -> None:
        """Launch it on the current stream."""
        self._graph.replay()


def _size(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
