"""The room on disks, told whenever somebody asks."""

import math
import shutil
from pathlib import Path

from prometheus_client import REGISTRY

from gateway.telemetry.disks import watch_disks
from gateway.telemetry.metrics import DISK_FREE, DISK_SIZE


def test_the_room_on_disks_is_told_and_a_folder_that_is_gone_breaks_nothing(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    watch_disks({"watched": folder})
    try:
        size, free = told("size"), told("free")
        assert size == shutil.disk_usage(folder).total
        assert 0 < free <= size
        folder.rmdir()
        assert math.isnan(told("free"))
        folder.mkdir()
        assert told("size") == size
    finally:
        for gauge in (DISK_SIZE, DISK_FREE):
            gauge.remove("watched")


def told(kind: str) -> float:
    """What the metrics say now."""
    value = REGISTRY.get_sample_value(f"gateway_disk_{kind}_bytes", {"folder": "watched"})
    assert value is not None
    return value
