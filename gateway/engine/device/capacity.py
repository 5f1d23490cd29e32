"""How much memory a device has, and how much of it is this process's to take."""

import os
from pathlib import Path
from typing import NamedTuple

import torch

CGROUPS = Path("/sys/fs/cgroup")
MEMINFO, OWN_STATUS, OWN_CGROUPS = "/proc/meminfo", "/proc/self/status", "/proc/self/cgroup"
LIMITS = (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes"))
"""Files of a control group: what its processes may take, and what they have; of both versions."""


class Capacity(NamedTuple):
    """Bytes of a device in all, and those that are free or this process's already."""

    total_bytes: int
    own_bytes: int


def capacity_of(device: torch.device) -> Capacity | None:
    """The memory of a device; None for one that does not tell, or is not here."""
    if device.type == "cpu":
        return host_capacity()
    if device.type != "cuda" or (device.index or 0) >= torch.cuda.device_count():
        return None
    free, total = torch.cuda.mem_get_info(device)
    return Capacity(total, free + torch.cuda.memory_reserved(device))


def host_capacity() -> Capacity:
    """This machine's memory, or what the control group of this process leaves of it."""
    facts = _facts(MEMINFO)
    total = facts.get("MemTotal", os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    own = facts.get("MemAvailable", total) + _facts(OWN_STATUS).get("VmRSS", 0)
    for limit, used in _limits():
        total = min(total, limit)
        own = min(own, limit - used + _facts(OWN_STATUS).get("VmRSS", 0))
    return Capacity(total, max(0, min(own, total)))


def _facts(file: str) -> dict[str, int]:
    """The sizes in bytes that a file of the system names; nothing where there is none."""
    try:
        lines = (line.split() for line in Path(file).read_text().splitlines())
    except OSError:
        return {}
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines if words[2:] == ["kB"]}


def _limits() -> list[tuple[int, int]]:
    """Limits and what is used of them, of this process's group and of all around it."""
    found = []
    for folder in _groups():
        for names in LIMITS:
            try:
                limit, used = (int((folder / name).read_text()) for name in names)
            except (OSError, ValueError):  # no such file, or no limit
                continue
            found.append((limit, used - _reclaimable(folder)))
    return found


def _reclaimable(folder: Path) -> int:
    """What a group holds of files that the system drops when memory is wanted."""
    try:
        lines = (folder / "memory.stat").read_text().split()
    except OSError:
        return 0
    facts = dict(zip(lines[::2], lines[1::2], strict=False))
    return int(facts.get("total_inactive_file", facts.get("inactive_file", 0)))


def _groups() -> list[Path]:
    try:
        lines = Path(OWN_CGROUPS).read_text().splitlines()
    except OSError:
        return []
    folders: dict[Path, None] = {}
    for line in lines:
        _, kinds, path = line.split(":", 2)
        root = CGROUPS / "memory" if "memory" in kinds.split(",") else CGROUPS
        inner = root / path.lstrip("/")
        around = (each for each in (inner, *inner.parents) if each.is_relative_to(root))
        folders |= dict.fromkeys(around)
    return list(folders)
