"""Results of calls that come again: text encoders' of the same prompt.

An encoder returns the states of all its layers, and a pipeline reads one or two of them. So
what is read of a sequence is noted, and only that is kept; who asks for another part later
has the call made again. Pipelines may write into what they read: each has copies.
"""

import functools
import itertools
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Any

from torch import Tensor

from gateway.engine.pipelines.merge import tensors_of

Path = tuple[Hashable, ...]
"""Where something is in a result: the keys and positions that lead to it."""


NOT_KEPT = object()
"""Stands where a part was that nobody had read so far."""


class Remembered:
    """Results by what was asked, the least recently used dropped beyond so many, or their bytes."""

    def __init__(self, limit_bytes: int, most_results: int) -> None:
        self._limit_bytes = limit_bytes
        self._most_results = most_results
        self._size_bytes = 0
        self._results: OrderedDict[Hashable, tuple[Any, int, int]] = OrderedDict()
        self._read: set[Path] = set()

    def __contains__(self, key: Hashable) -> bool:
        """Whether a result is here, with all parts that anyone has read of such results."""
        return key in self._results and self._results[key][2] in (0, len(self._read))

    def get(self, key: Hashable, again: Callable[[], Any]) -> Any:
        """A copy of a result that is there, now the most recently used.

        `again` makes the call, where a part is looked at that was not kept.
        """
        self._results.move_to_end(key)
        return self.copied(self._results[key][0], again)

    def copied(self, result: Any, again: Callable[[], Any]) -> Any:
        """A result for one who is not alone with it."""
        return _rebuilt(result, (), lambda path, parts: Parts(parts, path, self._read, again))

    def watched(self, result: Any) -> Any:
        """A result for one who is alone with it: what is read of it is noted."""
        return _rebuilt(result, (), lambda path, parts: Parts(parts, path, self._read), is_own=True)

    def put(self, key: Hashable, result: Any) -> None:
        """Remember a copy of what is read of a result, unless that alone is too large."""
        kept = _rebuilt(result, (), self._kept, is_own=True)
        size = sum(tensor.numel() * tensor.element_size() for tensor in tensors_of(kept))
        if size > self._limit_bytes:
            return
        self._size_bytes -= self._results.pop(key, (None, 0, 0))[1]
        own = _rebuilt(kept, (), lambda _, parts: tuple(map(_cloned, parts)))
        self._results[key] = (own, size, len(self._read))
        self._size_bytes += size
        while self._size_bytes > self._limit_bytes or len(self._results) > self._most_results:
            self._size_bytes -= self._results.popitem(last=False)[1][1]

    def _kept(self, path: Path, parts: tuple[Any, ...]) -> tuple[Any, ...]:
        """Of a sequence what anyone read; all of it where nobody was seen to."""
        read = {one[-1] for one in self._read if one[:-1] == path}
        if not read:
            return parts
        return tuple(part if n in read else NOT_KEPT for n, part in enumerate(parts))


class Parts(tuple[Any, ...]):
    """A sequence of a result: whatever is read of it is noted, and copied if others have it.

    `again` makes the call whose result it is part of; None for who is alone with it.
    """

    _path: Path
    _read: set[Path]
    _again: Callable[[], Any] | None
    _own: dict[int, Any]

    def __new__(
        cls, parts: tuple[Any, ...], path: Path, read: set[Path],
        again: Callable[[], Any] | None = None,
    ) -> "Parts":
        self = super().__new__(cls, parts)
        self._path, self._read, self._again, self._own = path, read, again, {}
        return self

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return tuple(map(self._part, range(len(self))[index]))
        return self._part(range(len(self))[index])

    def __iter__(self) -> Iterator[Any]:
        return map(self._part, range(len(self)))

    def _part(self, position: int) -> Any:
        path = (*self._path, position)
        self._read.add(path)
        if position not in self._own:
            self._own[position] = self._found(path, super().__getitem__(position))
        return self._own[position]

    def _found(self, path: Path, part: Any) -> Any:
        if self._again is None:
            return part
        if part is NOT_KEPT:
            return functools.reduce(lambda whole, name: whole[name], path, self._again())
        return _cloned(part)


def copied(result: Any) -> Any:
    """A result whose tensors are its owner's alone: pipelines may write into them."""
    return _rebuilt(result, (), lambda _, parts: tuple(map(_cloned, parts)))


def _rebuilt(
    result: Any,
    path: Path,
    of_sequence: Callable[[Path, tuple[Any, ...]], Any],
    *,
    is_own: bool = False,
) -> Any:
    """A result with its sequences of tensors made anew; others are copied unless `is_own`."""

    def inner(name: Hashable, part: Any) -> Any:
        return _rebuilt(part, (*path, name), of_sequence, is_own=is_own)

    match result:
        case Tensor():
            return result if is_own else result.clone()
        case tuple() if hasattr(result, "_fields"):
            return type(result)(*itertools.starmap(inner, enumerate(result)))
        case tuple() if path and all(isinstance(one, Tensor) or one is NOT_KEPT for one in result):
            return of_sequence(path, result)
        case list() | tuple():
            return type(result)(itertools.starmap(inner, enumerate(result)))
        case dict():
            return type(result)(**{name: inner(name, part) for name, part in result.items()})
        case _:
            return result


def _cloned(part: Any) -> Any:
    return part.clone() if isinstance(part, Tensor) else part
