"""The C library's heap: tensors are made in memory that others left, and given back at rest.

glibc maps what is large anew for each tensor, whose pages are then made one by one: with all
of a MiB and more mapped, a picture took 38 % more of the processor. What is large it learns from
what it sees freed, which is here said beforehand.

There is one heap, the process's first, if this is settled before a thread has begun. Those that
glibc makes for threads are of pieces of 64 MiB: one small thing that stays makes a piece unfit for
large tensors, and another is taken; memory so grew by a fifth in 3,000 pictures, in steps.

A tensor fits where one of its size has been. torch has tensors begin at a multiple of 64 bytes, for
which glibc takes 96 more than are needed, and gives what is left at both ends back as crumbs: once
something small lies in one, or a thread keeps it for that (which it does up to a KiB), the place is
too small for the next tensor, which goes to the heap's end. The crumbs of tensors that begin at a
page are of 2 KiB on average, and joined with the place again; large tensors do so where torch is to
ask for huge pages, whether the system gives any or not.

While there is work nothing is given back: what one forward leaves the next one takes.
"""

import ctypes
import os
from typing import Any

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
MAPPED_BYTES = 2**25
"""From here on memory is mapped; glibc knows no more."""

KEPT_BYTES = 2**28
"""Free at the end of the heap, before it is given back while there is work."""

MAX_HEAPS = 1
AT_PAGES = "THP_MEM_ALLOC_ENABLE"
"""torch reads it when the first tensor is made: those of 2 MiB and more begin at a page."""

REST_SECONDS = 60.0
"""Without work, before memory is given back, whose pages the next forwards have to make anew: eight
pictures that took 225 ms of the processor take 265 then."""

CHOSEN = ("MALLOC_", "GLIBC_TUNABLES")


def settle_heap() -> None:
    """Say how the heap is kept, unless the environment says how it is to be.

    Call it before torch has made a tensor.
    """
    if (mallopt := _of_glibc("mallopt")) is None:
        return
    mallopt(M_MMAP_THRESHOLD, MAPPED_BYTES)
    mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
    mallopt(M_ARENA_MAX, MAX_HEAPS)
    os.environ.setdefault(AT_PAGES, "1")


class Heap:
    """Whether there may be something of it to give back."""

    def __init__(self) -> None:
        self.is_used = False

    def work(self) -> None:
        """There is work."""
        self.is_used = True

    def rest(self) -> None:
        """There is no work, and has been none for a while."""
        if self.is_used:
            give_back()
        self.is_used = False


def give_back() -> None:
    """Give the system what is free, wherever it lies: tens of milliseconds for a GiB."""
    if (trim := _of_glibc("malloc_trim")) is not None:
        trim(0)


def _of_glibc(name: str) -> Any:
    """A function of glibc's; None with another library, or where somebody has chosen."""
    if any(variable.startswith(CHOSEN) for variable in os.environ):
        return None
    return getattr(ctypes.CDLL(None), name, None)
