"""What a GPU makes of the engine, in one run that ends when it was told to.

    python -m tests.benchmarks.device [--device cpu] [--seconds 480] [--out device.json]

It needs this repository's code, torch and the wheels in `WHEELS` with what they need; no
network and no weights: architectures are built on the device. The file is written after every
row, so that a run that is cut off leaves what it had.
"""

import os

os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "TQDM_DISABLE": "1"}

import argparse
import gc
import json
import platform
import time
import warnings
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import diffusers
import torch

from tests.benchmarks.device.bench import Bench, UnmeasuredError
from tests.benchmarks.device.budget import Budget
from tests.benchmarks.device.measures import MEASURES, Measure
from tests.benchmarks.device.models import models
from tests.benchmarks.table import Row, markdown, told
from tests.facts import age_seconds

WHEELS = (
    "accelerate", "diffusers", "greenlet", "msgspec", "numpy", "peft", "pillow",
    "prometheus-client", "safetensors", "structlog", "tokenizers", "transformers",
)


def main() -> None:
    """Measure within the time, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seconds", type=float, default=480, help="when it has to be done")
    parser.add_argument("--out", type=Path, default=Path("device.json"))
    options = parser.parse_args()
    device = torch.device(options.device)
    budget = Budget(options.seconds - age_seconds(os.getpid()))
    warnings.simplefilter("ignore")
    if device.type == "cpu":
        torch.set_num_threads(1)
    facts, rows = facts_of(device), list[Row]()
    for row in told(measured(device, budget)):
        rows.append(row)
        shown = {**facts, "rows": [asdict(row) for row in rows]}
        options.out.write_text(json.dumps(shown, indent=1))
    print(f"{facts['device']}, torch {facts['torch']}, {facts['when']}\n")
    print(markdown(rows))


def facts_of(device: torch.device) -> dict[str, str]:
    """Where and when it is measured, and with which libraries."""
    is_cuda = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if is_cuda else platform.machine(),
        "models": "real architectures" if is_cuda else "tiny models",
        "torch": torch.__version__, "diffusers": diffusers.__version__,
        "when": time.strftime("%Y-%m-%d"),
    }


def measured(device: torch.device, budget: Budget) -> Iterator[Row]:
    """The rows of every model, each within its part of the time."""
    for model in models(device):
        pipeline, part = model.build(device), budget.part(model.share)
        for number, steps in enumerate(model.steps, 1):
            share = number / len(model.steps)
            yield from rows_of(Bench(pipeline, model, device, steps, part.part(share)))
        del pipeline
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()


def rows_of(bench: Bench) -> Iterator[Row]:
    """The rows of one model at one number of steps."""
    model = bench.model
    name = f"{model.family} {model.edge}², {bench.steps} step{'s' * (bench.steps > 1)}"
    try:
        for measure in MEASURES:
            for row in filled(measure, bench):
                yield replace(row, name=f"{name}: {row.name}")
    finally:
        bench.close()


def filled(measure: Measure, bench: Bench) -> Iterator[Row]:
    """A measure's rows; where something stands in the way, the rest of them says what."""
    why, done = "", 0
    seconds = measure.least_seconds + measure.rounds * bench.rounds * bench.lone_seconds
    try:
        if not bench.budget.fits(seconds):
            raise UnmeasuredError("no time was left")
        for row, (value, reference) in zip(measure.rows, measure.figures(bench), strict=False):
            done += 1
            yield replace(row, value=value, reference=reference)
    except UnmeasuredError as error:
        why = str(error)
    except Exception as error:
        # What a device cannot do must not cost the rows after it.
        why = f"{type(error).__name__}: {error}".splitlines()[0][:120]
        bench.close()
    for row in measure.rows[done:]:
        yield replace(row, why=why)


if __name__ == "__main__":
    main()
