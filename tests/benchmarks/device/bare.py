"""What the engine is compared with: the stock pipeline, and its calls as captured graphs."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from gateway.engine.pipelines.parking import Entry
from tests.benchmarks.device.models import Model, prompt_of

DENOISERS = ("unet", "transformer")
NUM_WARM_UPS = 2
Call = tuple[Entry, tuple[Any, ...], dict[str, Any]]


class Bare:
    """A pipeline called as its own documentation says; a picture ends as bytes on the host."""

    def __init__(self, pipeline: Any, model: Model, device: torch.device, steps: int) -> None:
        self._pipeline = pipeline
        self._model = model
        self._device = device
        self._steps = steps

    @torch.inference_mode()
    def draw(self, batch: int = 1, first: int = 0) -> bytes:
        """Pictures of the numbers from `first` on."""
        numbers = range(first, first + batch)
        images = self._pipeline(
            prompt=[prompt_of(number) for number in numbers],
            generator=[torch.Generator("cpu").manual_seed(number) for number in numbers],
            num_inference_steps=self._steps, guidance_scale=self._model.guidance,
            height=self._model.edge, width=self._model.edge, output_type="pt",
            **self._model.arguments,
        ).images
        return on_host(images)

    def seconds(self, batch: int = 1, first: int = 0) -> float:
        """How long so many pictures in one call take."""
        began = time.perf_counter()
        self.draw(batch, first)
        return time.perf_counter() - began


class Captured:
    """The calls of one picture, those that draw as CUDA graphs: the ceiling.

    `capture` stands in for `Graph` where there is no CUDA.
    """

    def __init__(self, bare: Bare, entries: Sequence[Entry], capture: Any = None) -> None:
        self._calls: list[Callable[[], Any]] = []
        recorded: list[Call] = []

        def recording(entry: Entry, original: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any, **kwargs: Any) -> Any:
                recorded.append((entry, args, kwargs))
                return original(*args, **kwargs)

            return call

        with wrapped(entries, recording):
            bare.draw()
        graphs: dict[Entry, Any] = {}
        for entry, args, kwargs in recorded:
            if entry not in graphs and is_drawing(entry):
                graphs[entry] = (capture or Graph)(entry.original, args, kwargs)
            self._calls.append(_replay(graphs.get(entry), entry, args, kwargs))

    @torch.inference_mode()
    def draw(self) -> bytes:
        """The calls of one picture, one after another, to bytes on the host."""
        results = [call() for call in self._calls]
        return on_host(_first_tensor(results[-1]))

    def seconds(self) -> float:
        """How long that takes."""
        began = time.perf_counter()
        self.draw()
        return time.perf_counter() - began


class Graph:
    """A captured call; it is run again with other tensors of the same shapes."""

    @torch.inference_mode()
    def __init__(self, call: Callable[..., Any], args: Any, kwargs: Any) -> None:
        leaves, tree = tree_flatten((args, kwargs))
        self._inputs = [leaf.clone() if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        args, kwargs = tree_unflatten(self._inputs, tree)
        beside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            for _ in range(NUM_WARM_UPS):
                call(*args, **kwargs)
        torch.cuda.current_stream().wait_stream(beside)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            self._result = call(*args, **kwargs)

    def replay(self, args: Any, kwargs: Any) -> Any:
        """The result for other arguments, in the place where the last one was."""
        for place, leaf in zip(self._inputs, tree_flatten((args, kwargs))[0], strict=True):
            if isinstance(place, Tensor):
                place.copy_(leaf)
        self._graph.replay()
        return self._result


@contextmanager
def wrapped(
    entries: Sequence[Entry], wrapper: Callable[[Entry, Callable[..., Any]], Callable[..., Any]]
) -> Iterator[None]:
    """Have something stand around what entry points call, until the block ends."""
    originals = [entry.original for entry in entries]
    for entry in entries:
        entry.original = wrapper(entry, entry.original)
    try:
        yield
    finally:
        for entry, original in zip(entries, originals, strict=True):
            entry.original = original


def is_drawing(entry: Entry) -> bool:
    """Whether an entry point denoises or decodes, rather than reads."""
    return entry.component in DENOISERS or entry.method == "decode"


def on_host(images: Tensor) -> bytes:
    """Pictures `[batch, channels, height, width]` in [0, 1] as bytes."""
    data = (images.float() * 255).round().clamp(0, 255).to(torch.uint8)
    return data.cpu().numpy().tobytes()


def _replay(graph: Any, entry: Entry, args: Any, kwargs: Any) -> Callable[[], Any]:
    if graph is None:
        return lambda: entry.original(*args, **kwargs)
    return lambda: graph.replay(args, kwargs)


def _first_tensor(result: Any) -> Tensor:
    return next(leaf for leaf in tree_flatten(result)[0] if isinstance(leaf, Tensor))
