"""How much room there is on the disks that fill up while the gateway runs."""

import math
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from gateway.telemetry.metrics import DISK_FREE, DISK_SIZE


def watch_disks(folders: Mapping[str, Path]) -> None:
    """Measure the disks of folders, by their names, whenever somebody asks for the metrics."""
    for name, folder in folders.items():
        DISK_FREE.labels(name).set_function(partial(_bytes, folder, "free"))
        DISK_SIZE.labels(name).set_function(partial(_bytes, folder, "total"))


def _bytes(folder: Path, kind: str) -> float:
    """Not a number where the folder is not to be had."""
    try:
        return float(getattr(shutil.disk_usage(folder), kind))
    except OSError:
        return math.nan
