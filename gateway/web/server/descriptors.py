"""File descriptors: as many as the system allows, and some kept from connections."""

import os
import resource

MOST = 65_536
"""More are never needed, and some libraries walk through all that there may be."""

RESERVED = 256
"""For the store, the database, weights and what the process calls: never for connections."""


def raise_limit() -> int:
    """Raise the soft limit of descriptors to the hard one; how many there are now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return soft if soft != resource.RLIM_INFINITY else MOST
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def connections_within(num_descriptors: int, wanted: int) -> int:
    """How many connections leave the rest of the process its descriptors."""
    return max(1, min(wanted, num_descriptors - min(RESERVED, num_descriptors // 2)))


def hold_standard_streams() -> None:
    """Open the standard streams that are closed, lest a database takes their numbers.

    Whatever prints to standard error writes to descriptor 2, whoever has it.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest that is free: this one
