"""Few sizes of forwards instead of many: calls are repeated until a forward has its bucket's.

What is recorded or compiled for one size serves all that fit it; and kernels that are always
given as many rows add up each in the same order, whoever has the others.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from gateway.engine.forwards.graphs import fresh

INVARIANT_CALLS = 8
"""The one bucket of an endpoint whose pictures are the same to the bit, alone and together."""

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


def bucket(num_calls: int) -> int:
    """The power of two that so many calls fit in."""
    return 1 << (num_calls - 1).bit_length()


def padded(calls: Sequence[Arguments], size: int) -> list[Arguments]:
    """The calls, and the last one again until there are so many; its results are for nobody."""
    args, kwargs = calls[-1]
    return [
        *calls,
        *(
            (tuple(map(_again, args)), {name: _again(value) for name, value in kwargs.items()})
            for _ in range(size - len(calls))
        ),
    ]


def sizes_of(value: Any) -> Any:
    """The shape of every tensor in a call's arguments: what kernels see of a row."""
    match value:
        case torch.Tensor():
            return tuple(value.shape)
        case list() | tuple():
            return tuple(map(sizes_of, value))
        case Mapping():
            return tuple((name, sizes_of(one)) for name, one in sorted(value.items()))
        case _:
            return None


def _again(value: Any) -> Any:
    """An argument once more; a generator as another, since to draw from one is to change it."""
    return fresh(value.device) if isinstance(value, torch.Generator) else value
