"""The C library's heap: tensors are made in memory that others left, and given back at rest.

glibc maps what is large anew for each tensor, whose pages are then made one by one: with all
of a MiB and more mapped, a picture took 38 % more of the processor. What is large it learns from
what it sees freed, which is here said beforehand; and one heap for every thread or two would
be as many times the memory.

While there is work the heap is mostly left alone: what one forward leaves the next one takes.
Giving it back every ten seconds made memory fall by a fifth and come again, and the heap a quarter
larger, since what is at its end is cut off before the middle is used. Never to do it is no better:
beside a server's other threads it grew by 250 MiB in 2,000 pictures, in steps that stayed.
"""

import ctypes
import os
from typing import Any

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
MAPPED_BYTES = 2**25
"""From here on memory is mapped; glibc knows no more."""

KEPT_BYTES = 2**28
"""Free at the end of the heap, before it is given back while there is work."""

MAX_HEAPS = 2
REST_SECONDS = 60.0
"""Without work, before memory is given back, whose pages the next forwards have to make anew: eight
pictures that took 225 ms of the processor take 265 then."""

BUSY_SECONDS = 60.0
"""Between two times with work, lest what was needed once stays for good where nobody ever rests."""

CHOSEN = ("MALLOC_", "GLIBC_TUNABLES")


def settle_heap() -> None:
    """Say how the heap is kept, unless the environment says how it is to be."""
    if (mallopt := _of_glibc("mallopt")) is None:
        return
    mallopt(M_MMAP_THRESHOLD, MAPPED_BYTES)
    mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
    mallopt(M_ARENA_MAX, MAX_HEAPS)


class Heap:
    """What has been used of it since it was given back; times are of any clock."""

    def __init__(self) -> None:
        self._used_since: float | None = None

    @property
    def is_used(self) -> bool:
        """Whether there may be something to give back."""
        return self._used_since is not None

    def work(self, now: float) -> None:
        """There is work; every so often what lies between tensors is given back even so."""
        if self._used_since is None:
            self._used_since = now
        elif now - self._used_since > BUSY_SECONDS:
            give_back()
            self._used_since = now

    def rest(self) -> None:
        """There is no work, and has been none for a while."""
        if self.is_used:
            give_back()
        self._used_since = None


def give_back() -> None:
    """Give the system what is free, wherever it lies: tens of milliseconds for a GiB."""
    if (trim := _of_glibc("malloc_trim")) is not None:
        trim(0)


def _of_glibc(name: str) -> Any:
    """A function of glibc's; None with another library, or where somebody has chosen."""
    if any(variable.startswith(CHOSEN) for variable in os.environ):
        return None
    return getattr(ctypes.CDLL(None), name, None)
