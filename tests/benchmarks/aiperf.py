"""NVIDIA's AIPerf, a load client that is not ours, on the gateway and on mosec by turns.

    python -m tests.benchmarks.aiperf [--clients 1 8 60] [--requests 3]

It asks for pictures and for edits of one, 4 steps each. AIPerf is installed once into an
environment of its own, as the tests' other clients are.
"""

import os

os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "TQDM_DISABLE": "1"}

import argparse
import json
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from PIL import Image

from tests.benchmarks import workload
from tests.benchmarks.others import MOSEC, MS, count
from tests.benchmarks.processes import Contender, arguments_for, batching, gateway
from tests.benchmarks.table import Row, markdown, told
from tests.benchmarks.workload import EDGE, PROMPT
from tests.clients.environments import python_of

KINDS = {"image-generation": "pictures", "image-edit": "edits"}
STEPS, WAIT_MS, NUM_PROMPTS = 4, 10, 16
EXTRA = {
    "size": f"{EDGE}x{EDGE}", "num_inference_steps": STEPS, "guidance_scale": 1.0, "seed": 7,
    "response_format": "b64_json",
}
OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
"""Under these AIPerf takes no tokenizer from a folder."""


def main() -> None:
    """Measure, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clients", nargs="+", type=int, default=[1, 8, 60])
    parser.add_argument("--requests", type=int, default=3, help="of every client")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    print(markdown(told(measured(options.clients, options.requests))))


def measured(clients: list[int], num_each: int) -> Iterator[Row]:
    """What AIPerf says of both servers, for pictures and for edits."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as running:
        folder = Path(name)
        weights = workload.save(folder)
        ours = running.enter_context(gateway(arguments_for(weights, "cpu"))).contender
        theirs = running.enter_context(batching(weights, "cpu", WAIT_MS))
        ours.stop()
        theirs.stop()
        for kind, noun in KINDS.items():
            for number in clients:
                us, them = (
                    profile(contender, kind, number, max(8, num_each * number), folder)
                    for contender in (ours, theirs)
                )
                yield from _rows(f"AIPerf, {noun}, {count(number, 'client')}", us, them)


def profile(
    contender: Contender, kind: str, num_clients: int, num_requests: int, folder: Path
) -> dict[str, Any]:
    """AIPerf's own summary of one load.

    Raises:
        RuntimeError: it could not be run, or a request failed.
    """
    out = folder / f"{contender.name}-{kind}-{num_clients}"
    command = [
        str(python_of("aiperf")), "-m", "aiperf", "profile", "--model", "tiny", "--ui", "none",
        "--endpoint-type", kind, "--url", contender.url, "--output-artifact-dir", str(out),
        "--tokenizer", str(folder / "tiny" / "tokenizer"), "--custom-dataset-type", "single_turn",
        "--input-file", str(_prompts(folder)), "--concurrency", str(num_clients),
        "--request-count", str(num_requests), "--warmup-request-count", str(num_clients),
    ]
    for name, value in EXTRA.items():
        command += ["--extra-inputs", f"{name}:{value}"]
    environment = {name: value for name, value in os.environ.items() if name not in OFFLINE}
    with contender.awake():
        done = subprocess.run(
            command, env=environment, cwd=folder, capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise RuntimeError(f"AIPerf failed on {contender.name}:\n{done.stdout}{done.stderr}")
    summary: dict[str, Any] = json.loads((out / "profile_export_aiperf.json").read_text())
    if summary["error_summary"] or summary["request_count"]["avg"] != num_requests:
        raise RuntimeError(f"{contender.name} failed requests: {summary['error_summary']}")
    return summary


def _rows(name: str, us: dict[str, Any], them: dict[str, Any]) -> Iterator[Row]:
    rates = (one["request_throughput"]["avg"] for one in (us, them))
    yield Row(name, "images/s", next(rates), MOSEC, next(rates), "≥ 1")
    for percent in ("p50", "p99"):
        ours, theirs = (one["request_latency"][percent] for one in (us, them))
        yield Row(f"{name}, {percent}", MS, ours, MOSEC, theirs, "≤ 1")


def _prompts(folder: Path) -> Path:
    """A data set of prompts, each with the picture that an edit begins with."""
    file, picture = folder / "prompts.jsonl", folder / "red.png"
    Image.new("RGB", (EDGE, EDGE), "red").save(picture)
    lines = [
        json.dumps({"text": f"{PROMPT} {number}", "image": str(picture)})
        for number in range(NUM_PROMPTS)
    ]
    file.write_text("\n".join(lines) + "\n")
    return file


if __name__ == "__main__":
    main()
