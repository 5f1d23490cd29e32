"""Whether a file is still the one that was read, told by one look at it."""

import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

Stamp = tuple[int, int, int, int]
"""Inode, size, and when content and inode last changed, in ns: `cp -p` forges all but the last."""

TICK_SECONDS = 0.02
"""Longer than a file system's clock stands still: a later change has another stamp."""


def stamp_of(path: Path | str) -> Stamp | None:
    """A file's stamp; None where there is no such file."""
    try:
        facts = os.stat(path)
    except OSError:
        return None
    return facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns


def stamps_of(paths: Iterable[Path | str]) -> dict[str, Stamp | None]:
    """Stamps by path."""
    return {str(path): stamp_of(path) for path in paths}


def are_unchanged(stamps: Mapping[str, Stamp | None]) -> bool:
    """Whether files are what they were; some microseconds a file."""
    return all(stamp_of(path) == stamp for path, stamp in stamps.items())


def is_settled(stamps: Iterable[Stamp | None]) -> bool:
    """Whether a change from now on will be seen in these stamps."""
    return _age(stamps) >= TICK_SECONDS


def wait_for_tick(stamps: Iterable[Stamp | None]) -> None:
    """Wait until a change from then on will be seen in these stamps."""
    age = _age(stamps)
    if age < TICK_SECONDS:
        time.sleep(min(TICK_SECONDS, TICK_SECONDS - age))  # a server's clock may be ahead


def _age(stamps: Iterable[Stamp | None]) -> float:
    """Seconds since the latest change."""
    return time.time() - max((stamp[3] for stamp in stamps if stamp), default=0) / 1e9
