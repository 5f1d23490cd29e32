"""The C library's heap, told to give back what tensors leave.

glibc maps what is large, and gives it back when it is freed; but what is large it learns from
what it sees freed, up to 32 MiB. From then on tensors of some megabytes lie in the heap among
things that stay, in one heap for every thread or two, and the gaps between them are memory
that is nobody's: 577 MiB after 50 pictures were 900 after 400.
"""

import ctypes
import os

M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8
MAPPED_BYTES = 2**20
"""From here on memory is mapped, whatever has been freed."""

MAX_HEAPS = 2
CHOSEN = ("MALLOC_", "GLIBC_TUNABLES")


def settle_heap() -> None:
    """Bound what the heap keeps, unless the environment says how it is to be."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # another C library has none
    if mallopt is None or any(name.startswith(CHOSEN) for name in os.environ):
        return
    mallopt(M_MMAP_THRESHOLD, MAPPED_BYTES)
    mallopt(M_ARENA_MAX, MAX_HEAPS)
