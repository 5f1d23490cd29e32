"""Host memory that forwards' arguments are laid together in, and that is used again.

A large tensor is new memory each time, which the kernel has to fill with zeros: 46 MB of
embeddings took 70 ms to lay together, and take 11 where they were laid before. A buffer that
anyone still holds, as a result or a cache of a model's own, is not used again.
"""

from collections import deque

import torch
from torch import Tensor

LEAST_BYTES = 2**20
"""Smaller tensors come from memory that the process keeps anyway."""
MOST_BYTES = 256 * 2**20
"""Of buffers that are kept, the last one apart."""


class Buffer:
    """Bytes that tensors are laid together in."""

    def __init__(self, size_bytes: int) -> None:
        self.data = torch.empty(size_bytes, dtype=torch.uint8)
        self._num_holders = _num_holders(self.data)

    @property
    def is_free(self) -> bool:
        """Whether nobody looks at any part of it."""
        return _num_holders(self.data) == self._num_holders


class Buffers:
    """The buffers of one thread, the latest used last."""

    def __init__(self) -> None:
        self._kept: deque[Buffer] = deque()

    def cat(self, tensors: list[Tensor]) -> Tensor:
        """What `torch.cat` makes of tensors, for as long as somebody holds it."""
        first, sizes = tensors[0], [tensor.numel() for tensor in tensors]
        size_bytes = sum(sizes) * first.element_size()
        is_plain = first.device.type == "cpu" and len({one.dtype for one in tensors}) == 1
        if size_bytes < LEAST_BYTES or not is_plain:
            return torch.cat(tensors)
        rows = sum(len(tensor) for tensor in tensors)
        data = self._taken(size_bytes)[:size_bytes]
        whole = data.view(first.dtype).view(rows, *first.shape[1:])
        return torch.cat(tensors, out=whole)

    def _taken(self, size_bytes: int) -> Tensor:
        fitting = [one for one in self._kept if size_bytes <= len(one.data) <= 2 * size_bytes]
        free = next((one for one in fitting if one.is_free), None)
        if free is None:
            free = Buffer(size_bytes)
        else:
            self._kept.remove(free)
        self._kept.append(free)
        while len(self._kept) > 1 and sum(len(one.data) for one in self._kept) > MOST_BYTES:
            self._kept.popleft()
        return free.data


def _num_holders(data: Tensor) -> int:
    """How many tensors share a tensor's memory, and a constant."""
    count: int = torch._C._storage_Use_Count(data.untyped_storage()._cdata)
    return count
