"""Everything this project claims about speed and memory, measured in one run.

    python -m tests.benchmarks [--device cuda] [--requests N] [PHOTO…]
"""

import os

os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "TQDM_DISABLE": "1"}

import argparse
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch

from tests.benchmarks import encode, workload
from tests.benchmarks.bare import EDGE, BarePipeline
from tests.benchmarks.load import drive, drive_beside
from tests.benchmarks.processes import (
    Starting,
    bare_seconds,
    gateway,
    locking,
)
from tests.benchmarks.table import Row, markdown, percentile, told
from tests.facts import cpu_seconds, resident_mib

warnings.simplefilter("ignore")

CONCURRENCY = (1, 8, 60)
BATCHES = (1, 2, 4, 8, 16)
PER_SECOND = "images/s"


def main() -> None:
    """Build the pipeline, run both servers, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--requests", type=int, default=1000, help="of the memory row")
    parser.add_argument("photos", nargs="*", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        weights = workload.save(Path(folder))
        rows = [*told(measure(weights, options.device, options.requests))]
    rows += told(encode_rows(tuple(options.photos)))
    print(f"tiny random SDXL, {EDGE}×{EDGE}, 1 step, one torch thread, {options.device}\n")
    print(markdown(rows))


def measure(weights: Path, device: str, num_requests: int) -> Iterator[Row]:
    """Every row that needs a server."""
    served = ("tiny", "--models", str(weights.parent), "--device", device)
    bare = BarePipeline(weights, device)
    bare.lone_seconds(3)
    script_seconds = bare_seconds(weights, device)
    with gateway(served) as ours, locking(weights, device) as theirs:
        idle = resident_mib(ours.server.process.pid)
        yield from start_rows(ours, script_seconds)
        yield from lone_rows(ours, bare)
        yield from throughput_rows(ours, theirs, bare)
        yield from mixed_rows(ours, theirs)
        before = resident_mib(ours.server.process.pid)
        drive(ours.server.url, CONCURRENCY[-1], num_requests)
        after = resident_mib(ours.server.process.pid)
    yield Row("memory once every row above has run", "MiB", before, "idle", idle)
    name = f"memory after {num_requests} more requests"
    yield Row(name, "MiB", after, "before them", before, "flat")


def throughput_rows(ours: Starting, theirs: str, bare: BarePipeline) -> Iterator[Row]:
    """Pictures per second of both servers, and of the best static batch right beside them."""
    for clients in CONCURRENCY:
        num_requests = max(24, 2 * clients)
        drive(ours.server.url, clients, clients)
        used = cpu_seconds(ours.server.process.pid)
        us = drive(ours.server.url, clients, num_requests).per_second
        used = cpu_seconds(ours.server.process.pid) - used
        static, size = bare.static_batch(BATCHES, 1)
        them = drive(theirs, clients, num_requests).per_second
        name = f"{clients} concurrent"
        best = f"best static batch ({size})"
        aim = "≥ 0.95" if clients == CONCURRENCY[-1] else ""
        yield Row(name, PER_SECOND, us, best, static, aim)
        yield Row(name, PER_SECOND, us, "locking server", them)
        spent, least = 1e3 * used / num_requests, 1e3 * bare.cpu_seconds(size)
        yield Row(f"{name}, processor time a picture", "ms", spent, best, least)


def lone_rows(ours: Starting, bare: BarePipeline, repeats: int = 10) -> list[Row]:
    """A lone request against the pipeline and the encoder called by hand."""
    us: list[float] = []
    alone: list[float] = []
    for _ in range(3):
        us += drive(ours.server.url, 1, repeats).seconds
        alone += bare.lone_seconds(repeats)
    got, wanted = (1e3 * percentile(seconds, 50) for seconds in (us, alone))
    row = Row("lone request, p50", "ms", got, "pipe() and encode", wanted, "≤ 5 ms more")
    return [row]


def mixed_rows(ours: Starting, theirs: str) -> list[Row]:
    """1-step requests while four clients keep the server busy with 10-step ones."""
    us = drive_beside(ours.server.url, 4, 10, 20).seconds
    them = drive_beside(theirs, 4, 10, 20).seconds
    return [
        Row(
            f"1 step beside 10 steps, p{percent}", "ms", 1e3 * percentile(us, percent),
            "locking server", 1e3 * percentile(them, percent),
        )
        for percent in (50, 99)
    ]


def start_rows(ours: Starting, script_seconds: float) -> list[Row]:
    """From `gateway serve` to a picture, against a script that only draws one."""
    script = "script that draws one"
    return [
        Row("start to live", "s", ours.live_seconds, script, script_seconds),
        Row("start to ready", "s", ours.ready_seconds, script, script_seconds),
        Row("start to first picture", "s", ours.drawn_seconds, script, script_seconds),
    ]


def encode_rows(photos: tuple[Path, ...]) -> list[Row]:
    """PNG time and size per megapixel."""
    rows = []
    for name, ours, pillow, size in encode.rows(photos):
        label = f"PNG, {name}"
        rows.append(
            Row(label, "ms/MP", float(ours), "Pillow level 6", float(pillow), "≤ 10 ms/MP")
        )
        rows.append(Row(f"{label}, size", "×", float(size), "Pillow level 6", 1.0, "≤ 1.2"))
    return rows


if __name__ == "__main__":
    main()
