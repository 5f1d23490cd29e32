"""Many calls of one module answered by one forward: merge the arguments, split the result.

A call's rows are its batch: the first dimension of its first tensor of two dimensions or
more, or the length of its first list of tensors. Per argument,

- a tensor whose first dimension is the rows is concatenated;
- a tensor of no dimension, or of one element, is expanded to the rows and concatenated
  (timesteps come as `[]`, `[1]` or `[rows]`);
- a list of tensors as long as the rows is extended, whatever their shapes; a list of other
  values as long as the rows is extended where the values are equal;
- a random generator per call of one row becomes a list of them, as diffusers takes it;
- dicts, tuples and other lists recurse;
- anything else must be equal to share a forward, and passes once.

What must be equal is the group key. Sequences that carry a mask may differ in length:
`x` `[rows, length, width]` beside `x_mask` `[rows, length]`, or beside `x_mask` None, which
hides nothing, is padded with zeros.
"""

import copy
import dataclasses
import hashlib
import itertools
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
Cat = Callable[[list[Tensor]], Tensor]
"""Lays tensors together along their first dimension."""
MASK = "_mask"
_NEAR = {torch.float32: 1e-3, torch.float64: 1e-3}
"""The most that batching may change, as a share of the largest value; 0.05 in half precision."""


class Batch(NamedTuple):
    """How many rows a call has, and whether they came as a list of tensors."""

    rows: int
    is_listed: bool

    def is_per_row(self, value: list[Any]) -> bool:
        """Whether a list holds one tensor for each row, rather than batched tensors."""
        if len(value) != self.rows or not all(isinstance(item, Tensor) for item in value):
            return False
        return self.is_listed or not all(item.ndim and item.shape[0] == self.rows for item in value)


def batch_of(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Batch:
    """The batch of a call; a timestep may come first, and says nothing of it."""
    rows = 1
    for value in (*args, *kwargs.values()):
        if isinstance(value, Tensor) and value.ndim > 1:
            return Batch(value.shape[0], False)
        if isinstance(value, Tensor) and value.ndim == 1:
            rows = max(rows, value.shape[0])
        if isinstance(value, list) and value and isinstance(value[0], Tensor):
            return Batch(len(value), True)
    return Batch(rows, False)


def shape_of(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[int, ...]:
    """How large one row of a call is: the sizes of what its batch is told by."""
    for value in (*args, *kwargs.values()):
        if isinstance(value, Tensor) and value.ndim > 1:
            return tuple(value.shape[1:])
        if isinstance(value, list) and value and isinstance(value[0], Tensor):
            return tuple(value[0].shape)
    return ()


def num_rows(args: Sequence[Any], kwargs: Mapping[str, Any]) -> int:
    """The rows of a call."""
    return batch_of(args, kwargs).rows


def group_key(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Hashable:
    """Calls of one module whose keys are equal can share a forward."""
    batch = batch_of(args, kwargs)
    masked = _masked_names(kwargs)
    named = tuple(
        (name, _masked_key(value) if name in masked else _key(value, batch))
        for name, value in sorted(kwargs.items())
    )
    return (tuple(_key(value, batch) for value in args), named)


def form_of(key: Hashable) -> Hashable:
    """What group keys have in common whose calls differ in sizes and contents alone."""
    match key:
        case tuple():
            return tuple(form_of(part) for part in key)
        case frozenset():
            return frozenset(form_of(part) for part in key)
        case bytes() | int() | float():
            return type(key).__name__
        case _:
            return key


def is_alike(result: Any, wanted: Any) -> bool:
    """Whether two results are the same, but for the order of a few roundings."""
    return all(
        _is_near(one, other)
        for one, other in zip(tensors_of(result), tensors_of(wanted), strict=True)
    )


def is_even(calls: Sequence[Arguments]) -> bool:
    """Whether calls have the same masks and positions: all else differs by content alone."""
    marks = {
        tuple(fingerprint(value) for value in (*args, *kwargs.values()) if _is_mark(value))
        for args, kwargs in calls
    }
    return len(marks) == 1


def _is_mark(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim > 1 and not value.is_floating_point()


def tensors_of(result: Any) -> Iterator[Tensor]:
    """Every tensor of a result, whatever it is wrapped in."""
    match result:
        case Tensor():
            yield result
        case dict():
            yield from (tensor for value in result.values() for tensor in tensors_of(value))
        case list() | tuple():
            yield from (tensor for value in result for tensor in tensors_of(value))
        case _:
            yield from tensors_of(getattr(result, "__dict__", {}))


def _is_near(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape or not one.is_floating_point():
        return torch.equal(one, other)
    if not one.numel():
        return True
    difference = ((one - other).abs().max() / other.abs().max().clamp(min=1e-6)).item()
    return difference <= _NEAR.get(one.dtype, 0.05)


def content_key(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Hashable | None:
    """A key equal for identical calls, where telling is cheap: all tensors are integers.

    None for a call that carries any floating-point tensor. Text encoders' calls qualify.
    """
    parts: list[Hashable] = []
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


def merge(calls: Sequence[Arguments], cat: Cat = torch.cat) -> Arguments:
    """One call's arguments for several of equal group key."""
    if len(calls) == 1:
        return calls[0]
    batches = [batch_of(args, kwargs) for args, kwargs in calls]
    calls = _padded(calls)
    args = tuple(
        _merged([args[index] for args, _ in calls], batches, cat)
        for index in range(len(calls[0][0]))
    )
    kwargs = {
        name: _merged([kwargs[name] for _, kwargs in calls], batches, cat) for name in calls[0][1]
    }
    return args, kwargs


def split(result: Any, batches: Sequence[Batch]) -> list[Any]:
    """Cut a merged call's result back into one per call."""
    if len(batches) == 1:
        return [result]
    whole = Batch(sum(batch.rows for batch in batches), batches[0].is_listed)
    stops = list(itertools.accumulate(batch.rows for batch in batches))
    return [
        _cut(result, slice(stop - batch.rows, stop), whole)
        for stop, batch in zip(stops, batches, strict=True)
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


def _key(value: Any, batch: Batch) -> Hashable:  # noqa: PLR0911  one per kind
    match value:
        case Tensor():
            return _tensor_key(value, batch.rows)
        case torch.Generator() if batch.rows == 1:
            return ("generator", value.device)
        case list() if batch.is_per_row(value):
            # Tensors in per-row lists may differ in shape: that is why they are in a list.
            return ("list", frozenset((item.dtype, item.device, item.ndim) for item in value))
        case list() if _is_plain(value) and len(value) == batch.rows:
            return ("equals", frozenset(repr(item) for item in value))
        case list() | tuple():
            return (type(value), tuple(_key(item, batch) for item in value))
        case dict():
            return tuple((name, _key(item, batch)) for name, item in sorted(value.items()))
        case _:
            return _frozen(value)


def _tensor_key(value: Tensor, rows: int) -> Hashable:
    kind = (value.dtype, value.device)
    if value.numel() == 1 and value.ndim <= 1:
        return ("expand", *kind)
    if value.shape[0] == rows:
        return ("rows", *kind, tuple(value.shape[1:]))
    return ("once", *kind, tuple(value.shape), fingerprint(value))


def _is_plain(value: list[Any]) -> bool:
    return not any(isinstance(item, Tensor | torch.Generator) for item in value)


def _frozen(value: Any) -> Hashable:
    try:
        hash(value)
    except TypeError:
        return ("object", id(value))
    return (type(value), value)


def _masked_names(kwargs: Mapping[str, Any]) -> set[str]:
    """Names of sequences that carry a mask, and of those masks."""
    names = set()
    for name, mask in kwargs.items():
        sequence = kwargs.get(name.removesuffix(MASK)) if name.endswith(MASK) else None
        if not isinstance(sequence, Tensor) or sequence.ndim != 3:
            continue
        if mask is None or (isinstance(mask, Tensor) and mask.shape == sequence.shape[:2]):
            names |= {name, name.removesuffix(MASK)}
    return names


def _masked_key(value: Any) -> Hashable:
    """Sequences may differ in length; masks, in whether there is one."""
    if value is None or value.ndim == 2:
        return "mask"
    return (value.dtype, value.device, value.shape[2:])


def _padded(calls: Sequence[Arguments]) -> list[Arguments]:
    """The calls with their masked sequences as long as the longest."""
    padded = [(args, dict(kwargs)) for args, kwargs in calls]
    for name in sorted(_masked_names(calls[0][1])):
        if name.endswith(MASK):
            _pad([kwargs for _, kwargs in padded], name.removesuffix(MASK), name)
    return padded


def _pad(calls: list[dict[str, Any]], name: str, mask: str) -> None:
    lengths = [kwargs[name].shape[1] for kwargs in calls]
    if len(set(lengths)) == 1 and all(kwargs[mask] is None for kwargs in calls):
        return
    masks = [kwargs[mask] for kwargs in calls if kwargs[mask] is not None]
    dtype = masks[0].dtype if masks else torch.bool
    for kwargs in calls:
        sequence = kwargs[name]
        missing = max(lengths) - sequence.shape[1]
        seen = kwargs[mask]
        if seen is None:
            seen = torch.ones(sequence.shape[:2], dtype=dtype, device=sequence.device)
        kwargs[mask] = F.pad(seen.to(dtype), (0, missing))
        kwargs[name] = F.pad(sequence, (0, 0, 0, missing))


def _merged(  # noqa: PLR0911  one per kind
    values: list[Any], batches: list[Batch], cat: Cat
) -> Any:
    first, batch = values[0], batches[0]
    match first:
        case Tensor():
            return _merged_tensors(values, [each.rows for each in batches], cat)
        case torch.Generator() if batch.rows == 1:
            return values
        case list() if batch.is_per_row(first) or (_is_plain(first) and len(first) == batch.rows):
            return [item for value in values for item in value]
        case tuple() if hasattr(first, "_fields"):
            return type(first)(
                *(_merged(list(items), batches, cat) for items in zip(*values, strict=True))
            )
        case tuple() | list():
            return type(first)(
                _merged(list(items), batches, cat) for items in zip(*values, strict=True)
            )
        case dict():
            return {
                name: _merged([value[name] for value in values], batches, cat) for name in first
            }
        case _:
            return first


def _merged_tensors(values: list[Tensor], rows: list[int], cat: Cat) -> Tensor:
    first = values[0]
    if first.numel() == 1 and first.ndim <= 1:
        return torch.cat(
            [value.reshape(1).expand(count) for value, count in zip(values, rows, strict=True)]
        )
    return cat(values) if first.shape[0] == rows[0] else first


def _cut(value: Any, part: slice, whole: Batch) -> Any:  # noqa: PLR0911  one per kind
    match value:
        case Tensor():
            return value[part] if value.ndim and value.shape[0] == whole.rows else value
        case None | bool() | int() | float() | str():
            return value
        case list() if whole.is_per_row(value) or (_is_plain(value) and len(value) == whole.rows):
            return value[part]
        case tuple() if hasattr(value, "_fields"):
            return type(value)(*(_cut(item, part, whole) for item in value))
        case list() | tuple():
            return type(value)(_cut(item, part, whole) for item in value)
        case dict() if dataclasses.is_dataclass(value):
            return type(value)(**{name: _cut(item, part, whole) for name, item in value.items()})
        case dict():
            return {name: _cut(item, part, whole) for name, item in value.items()}
        case _:
            return _cut_object(value, part, whole)


def _cut_object(value: Any, part: slice, whole: Batch) -> Any:
    """A result object such as a latent distribution: a copy with its tensors cut."""
    attributes = getattr(value, "__dict__", {})
    if not any(isinstance(item, Tensor) for item in attributes.values()):
        return value
    own = copy.copy(value)
    for name, item in attributes.items():
        setattr(own, name, _cut(item, part, whole))
    return own
