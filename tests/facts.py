"""Facts of a running process, as the kernel tells them."""

import os
import time
from pathlib import Path

MIB = 2**20


def resident_mib(pid: int) -> float:
    """The resident memory of a process, in MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MIB


def cpu_seconds(pid: int) -> float:
    """The processor time a process has used, in all its threads."""
    numbers = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(numbers[11]) + int(numbers[12])) / os.sysconf("SC_CLK_TCK")


def descendants(pid: int) -> list[int]:
    """The processes that a process has begun, and those that they have."""
    children = [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]
    return [*children, *(one for child in children for one in descendants(child))]


def named(name: str, pid: int) -> list[int]:
    """Those of a process's descendants that run a program of that name."""
    told = {one: Path(f"/proc/{one}/stat").read_text() for one in descendants(pid)}
    # An ended one is listed until its parent asks what became of it.
    return [one for one, text in told.items() if f"({name})" in text and f"({name}) Z" not in text]


def age_seconds(pid: int) -> float:
    """How long a process has been there."""
    numbers = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    began = int(numbers[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - began


def num_descriptors(pid: int) -> int:
    """How many files and sockets a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def num_threads(pid: int) -> int:
    """How many threads a process has."""
    return len(os.listdir(f"/proc/{pid}/task"))


def folder_mib(folder: Path) -> float:
    """The bytes of all files under a folder, in MiB."""
    sizes = 0
    for path in folder.rglob("*"):
        try:
            sizes += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:  # swept just now
            continue
    return sizes / MIB
