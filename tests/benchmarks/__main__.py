"""Everything this project claims about speed and memory, measured in one run: one table.

    python -m tests.benchmarks [start] [others] [host] [png] [cluster] [--device cuda] [--rounds 3]

Without the name of a part, all of them.
"""

import os

os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "TQDM_DISABLE": "1"}

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from tests.benchmarks import cluster, encode, host, others, workload
from tests.benchmarks.bare import BarePipeline
from tests.benchmarks.load import drive
from tests.benchmarks.processes import Starting, arguments_for, bare_seconds, gateway
from tests.benchmarks.table import Row, markdown, percentile, told
from tests.benchmarks.trees import TREES


def main() -> None:
    """Measure, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=3, help="of every race")
    parser.add_argument("--photos", nargs="*", type=Path, default=[], help="to encode as PNG")
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    options = parser.parse_args()
    if unknown := set(options.parts) - PARTS.keys():
        parser.error(f"no part is called {', '.join(sorted(unknown))}")
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    began = time.perf_counter()
    rows = [row for part in options.parts or PARTS for row in told(PARTS[part](options))]
    minutes = (time.perf_counter() - began) / 60
    facts = f"{options.device}, {os.cpu_count()} cores, torch {torch.__version__}"
    print(f"{time.strftime('%Y-%m-%d')}, {facts}, {minutes:.1f} minutes\n")
    print(markdown(rows))


def start(options: argparse.Namespace) -> Iterator[Row]:
    """From `gateway serve` to a picture, against a script that only draws one."""
    with tempfile.TemporaryDirectory() as folder:
        weights = workload.save(Path(folder))
        script, seconds = "script that draws one", bare_seconds(weights, options.device)
        with gateway(arguments_for(weights, options.device)) as ours:
            yield Row("start to live", "s", ours.live_seconds, script, seconds)
            yield Row("start to ready", "s", ours.ready_seconds, script, seconds)
            yield Row("start to first picture", "s", ours.drawn_seconds, script, seconds)
            yield lone(ours, BarePipeline(weights, options.device), options.rounds)


def lone(ours: Starting, bare: BarePipeline, num_rounds: int, repeats: int = 10) -> Row:
    """A lone request against the pipeline and the encoder called by hand."""
    us: list[float] = []
    alone: list[float] = []
    bare.lone_seconds(3)
    for _ in range(num_rounds):
        us += drive(ours.server.url, 1, repeats).seconds
        alone += bare.lone_seconds(repeats)
    got, wanted = (1e3 * percentile(seconds, 50) for seconds in (us, alone))
    return Row("lone request, p50", "ms", got, "pipe() and encode", wanted, "≤ 5 ms more")


def against_others(options: argparse.Namespace) -> Iterator[Row]:
    """The gateway as a process on a socket against other servers and the best static batch."""
    with tempfile.TemporaryDirectory() as folder:
        weights = workload.save(Path(folder))
        bare = BarePipeline(weights, options.device)
        with gateway(arguments_for(weights, options.device)) as ours:
            yield from others.rows(ours.contender, weights, bare, options.rounds)


def png(options: argparse.Namespace) -> Iterator[Row]:
    """PNG time and size per megapixel."""
    for name, ours, pillow, size in encode.rows(tuple(options.photos)):
        label, level = f"PNG, {name}", "Pillow level 6"
        yield Row(label, "ms/MP", float(ours), level, float(pillow), "≤ 10 ms/MP")
        yield Row(f"{label}, size", "×", float(size), level, 1.0, "≤ 1.2")


def over_replicas(options: argparse.Namespace) -> Iterator[Row]:
    """Two replicas against the engine in the process."""
    with tempfile.TemporaryDirectory() as folder:
        yield from cluster.rows(workload.save(Path(folder)), options.rounds)


PARTS: dict[str, Callable[[argparse.Namespace], Iterator[Row]]] = {
    "start": start,
    "others": against_others,
    "host": lambda _: host.rows(list(TREES)),
    "png": png,
    "cluster": over_replicas,
}


if __name__ == "__main__":
    main()
