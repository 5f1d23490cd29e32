"""Many calls of one module answered by one forward: merge the arguments, split the result.

A call's rows are its batch: the first dimension of its first tensor, or the length of its
first list of tensors. Per argument,

- a tensor whose first dimension is the rows is concatenated;
- a tensor of no dimension, or of one element, is expanded to the rows and concatenated
  (timesteps come as `[]`, `[1]` or `[rows]`);
- a list as long as the rows is extended; dicts and tuples recurse;
- anything else must be equal to share a forward, and passes once.

What must be equal is the group key. Sequences that carry a mask may differ in length:
`x` `[rows, length, width]` beside `x_mask` `[rows, length]` is padded with zeros.
"""

import copy
import dataclasses
import hashlib
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
MASK = "_mask"


def num_rows(args: Sequence[Any], kwargs: Mapping[str, Any]) -> int:
    """The batch of a call."""
    for value in (*args, *kwargs.values()):
        if isinstance(value, Tensor) and value.ndim > 0:
            return value.shape[0]
        if isinstance(value, list) and value and isinstance(value[0], Tensor):
            return len(value)
    return 1


def group_key(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Hashable:
    """Calls of one module whose keys are equal can share a forward."""
    rows = num_rows(args, kwargs)
    padded = _padded_names(kwargs)
    named = tuple(
        (name, _key(value, rows, free_length=name in padded))
        for name, value in sorted(kwargs.items())
    )
    return (tuple(_key(value, rows) for value in args), named)


def content_key(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Hashable | None:
    """A key equal for identical calls, where telling is cheap: all tensors are integers.

    None for a call that carries any floating-point tensor. Text encoders' calls qualify.
    """
    parts = []
    for name, value in (*enumerate(args), *sorted(kwargs.items())):
        if isinstance(value, Tensor):
            if value.is_floating_point():
                return None
            parts.append((name, fingerprint(value)))
        elif isinstance(value, list | dict):
            return None
        else:
            parts.append((name, _frozen(value)))
    return tuple(parts)


def merge(calls: Sequence[Arguments]) -> Arguments:
    """One call's arguments for several of equal group key."""
    if len(calls) == 1:
        return calls[0]
    rows = [num_rows(args, kwargs) for args, kwargs in calls]
    calls = _padded(calls)
    args = tuple(
        _merged([args[index] for args, _ in calls], rows) for index in range(len(calls[0][0]))
    )
    kwargs = {
        name: _merged([kwargs[name] for _, kwargs in calls], rows) for name in calls[0][1]
    }
    return args, kwargs


def split(result: Any, rows: Sequence[int]) -> list[Any]:
    """Cut a merged call's result back into one per call."""
    if len(rows) == 1:
        return [result]
    starts = [sum(rows[:index]) for index in range(len(rows))]
    total = sum(rows)
    return [
        _cut(result, start, start + count, total)
        for start, count in zip(starts, rows, strict=True)
    ]


def fingerprint(tensor: Tensor) -> bytes:
    """A digest of a tensor's content, computed once per tensor object.

    Pipelines pass the same position tables at every step, so a device is waited for once
    per sample and not once per step.
    """
    known = getattr(tensor, "_fingerprint", None)
    if known is None:
        data = tensor.detach().to("cpu").contiguous()
        raw = data.view(torch.uint8) if data.ndim else data.reshape(1).view(torch.uint8)
        known = hashlib.blake2b(raw.numpy().tobytes(), digest_size=16).digest()
        tensor._fingerprint = known  # type: ignore[attr-defined]
    assert isinstance(known, bytes)
    return known


def _key(value: Any, rows: int, *, free_length: bool = False) -> Hashable:
    match value:
        case Tensor():
            return _tensor_key(value, rows, free_length)
        case list() if len(value) == rows:
            return ("list", frozenset(_element_key(item) for item in value))
        case list() | tuple():
            return (type(value), tuple(_key(item, rows) for item in value))
        case dict():
            return tuple((name, _key(item, rows)) for name, item in sorted(value.items()))
        case _:
            return _frozen(value)


def _tensor_key(value: Tensor, rows: int, free_length: bool) -> Hashable:
    kind = (value.dtype, value.device)
    if value.numel() == 1 and value.ndim <= 1:
        return ("expand", *kind)
    if value.shape[0] == rows:
        shape = value.shape[2:] if free_length else value.shape[1:]
        return ("rows", *kind, tuple(shape))
    return ("once", *kind, tuple(value.shape), fingerprint(value))


def _element_key(item: Any) -> Hashable:
    """Tensors in per-row lists may differ in shape: that is why they are in a list."""
    return (item.dtype, item.device, item.ndim) if isinstance(item, Tensor) else type(item)


def _frozen(value: Any) -> Hashable:
    try:
        hash(value)
    except TypeError:
        return ("object", id(value))
    return (type(value), value)


def _padded_names(kwargs: Mapping[str, Any]) -> set[str]:
    """Names of sequences that carry a mask, and of those masks."""
    names = set()
    for name, mask in kwargs.items():
        sequence = kwargs.get(name.removesuffix(MASK)) if name.endswith(MASK) else None
        if (
            isinstance(mask, Tensor)
            and isinstance(sequence, Tensor)
            and mask.ndim == 2
            and sequence.ndim == 3
            and mask.shape == sequence.shape[:2]
        ):
            names |= {name, name.removesuffix(MASK)}
    return names


def _padded(calls: Sequence[Arguments]) -> list[Arguments]:
    names = _padded_names(calls[0][1])
    if not names:
        return list(calls)
    longest = {name: max(kwargs[name].shape[1] for _, kwargs in calls) for name in names}
    return [
        (args, {**kwargs, **{name: _lengthened(kwargs[name], longest[name]) for name in names}})
        for args, kwargs in calls
    ]


def _lengthened(value: Tensor, length: int) -> Tensor:
    missing = length - value.shape[1]
    return F.pad(value, (0,) * (2 * (value.ndim - 2)) + (0, missing)) if missing else value


def _merged(values: list[Any], rows: list[int]) -> Any:
    first = values[0]
    match first:
        case Tensor():
            return _merged_tensors(values, rows)
        case list() if all(len(value) == count for value, count in zip(values, rows, strict=True)):
            return [item for value in values for item in value]
        case tuple() | list():
            return type(first)(_merged(list(items), rows) for items in zip(*values, strict=True))
        case dict():
            return {name: _merged([value[name] for value in values], rows) for name in first}
        case _:
            return first


def _merged_tensors(values: list[Tensor], rows: list[int]) -> Tensor:
    first = values[0]
    if first.numel() == 1 and first.ndim <= 1:
        return torch.cat(
            [value.reshape(1).expand(count) for value, count in zip(values, rows, strict=True)]
        )
    return torch.cat(values) if first.shape[0] == rows[0] else first


def _cut(value: Any, start: int, stop: int, total: int) -> Any:
    match value:
        case Tensor():
            return value[start:stop] if value.ndim and value.shape[0] == total else value
        case None | bool() | int() | float() | str():
            return value
        case list() if len(value) == total:
            return value[start:stop]
        case tuple() if hasattr(value, "_fields"):
            return type(value)(*(_cut(item, start, stop, total) for item in value))
        case list() | tuple():
            return type(value)(_cut(item, start, stop, total) for item in value)
        case dict() if dataclasses.is_dataclass(value):
            return type(value)(
                **{name: _cut(item, start, stop, total) for name, item in value.items()}
            )
        case dict():
            return {name: _cut(item, start, stop, total) for name, item in value.items()}
        case _:
            return _cut_object(value, start, stop, total)


def _cut_object(value: Any, start: int, stop: int, total: int) -> Any:
    """A result object such as a latent distribution: a copy with its tensors cut."""
    attributes = getattr(value, "__dict__", {})
    if not any(isinstance(item, Tensor) for item in attributes.values()):
        return value
    part = copy.copy(value)
    for name, item in attributes.items():
        setattr(part, name, _cut(item, start, stop, total))
    return part
