"""What the host spends on a picture: the engine against the stock pipeline's own static batch.

    python -m tests.benchmarks.host [SDXL …]

Models are real ones without their weights (`trees.py`), whose forwards end at once. Both draw in
one process and one thread, by turns, and both end with bytes in host memory; ratios of their
processor time hold on any machine. Every prompt is new.
"""

import os

os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "TQDM_DISABLE": "1"}

import argparse
import itertools
import time
import warnings
from collections.abc import Callable, Iterator
from statistics import median

import torch

from gateway.engine.device.pacing import HostMark, HostTimeline
from gateway.job import Job
from tests.benchmarks.table import Row, markdown, told
from tests.benchmarks.trees import TREES, Tree
from tests.engine.workbench import Workbench, failures

SAMPLES = (1, 8, 32)
STEPS = (1, 4)
EDGE = 256
LEAST_SECONDS = 4.0
"""Of processor time, that all ways of drawing so many pictures are measured for."""
NUM_ROUNDS = 5
AIMS = {1: "≤ 1.1", 8: "≤ 1.25", 32: "≤ 1.25"}

Draw = Callable[[int, int], object]
"""Draws so many pictures in so many steps."""

numbers = itertools.count()


def main() -> None:
    """Measure, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="*", help=", ".join(tree.name for tree in TREES))
    wanted = parser.parse_args().models
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    trees = [tree for tree in TREES if not wanted or tree.name in wanted]
    print(markdown(told(rows(trees))))


def rows(trees: list[Tree]) -> Iterator[Row]:
    """Processor time of a picture, and of one step more of it, for each model and batch."""
    for tree in trees:
        stock, engine = Stock(tree), Engine(tree)
        for samples in SAMPLES:
            name, other = f"host, {tree.name}, {samples} at once", "the pipeline's own batch"
            ours, theirs = by_turns(engine, stock, samples)
            for steps, us, them in zip(STEPS, ours, theirs, strict=False):
                yield Row(f"{name}, {steps} steps", "ms", us, other, them, AIMS[samples])
            yield Row(f"{name}, each step", "ms", ours[-1], other, theirs[-1])
        engine.close()


def by_turns(ours: Draw, theirs: Draw, samples: int) -> tuple[list[float], list[float]]:
    """The processor milliseconds of a picture of few steps, of many, and of each step more.

    Medians over rounds in which everything is measured once.
    """
    ways = [(draw, steps) for draw in (ours, theirs) for steps in STEPS]
    for draw, steps in ways:
        draw(samples, steps)
    taken: list[list[float]] = []
    while sum(map(sum, taken)) < LEAST_SECONDS or len(taken) < NUM_ROUNDS:
        taken.append([_cpu_seconds(draw, samples, steps) for draw, steps in ways])
    columns = [list(column) for column in zip(*taken, strict=True)]
    us, them = (_milliseconds(few, many, samples) for few, many in (columns[:2], columns[2:]))
    return us, them


def _cpu_seconds(draw: Draw, samples: int, steps: int) -> float:
    began = time.process_time()
    draw(samples, steps)
    return time.process_time() - began


def _milliseconds(few: list[float], many: list[float], samples: int) -> list[float]:
    num_more = STEPS[1] - STEPS[0]
    more = [(last - first) / num_more for first, last in zip(few, many, strict=True)]
    return [1e3 * median(seconds) / samples for seconds in (few, many, more)]


class Stock:
    """The pipeline called with lists, as its own documentation says, and its pictures as bytes."""

    def __init__(self, tree: Tree) -> None:
        self._pipeline = tree.build()
        self._given = dict(tree.arguments)
        if tree.guidance is not None:
            self._given["guidance_scale"] = tree.guidance

    @torch.inference_mode()
    def __call__(self, samples: int, steps: int) -> list[bytes]:
        generators = [torch.Generator("cpu").manual_seed(seed) for seed in range(samples)]
        images = self._pipeline(
            prompt=[_prompt() for _ in range(samples)], generator=generators, height=EDGE,
            width=EDGE, num_inference_steps=steps, output_type="pt", **self._given,
        ).images
        pixels = (images * 255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
        return [one.tobytes() for one in pixels.contiguous().numpy()]


class Engine:
    """The hub with the same pipeline, its turns made by hand."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._bench = Workbench({"tree": tree.build()}, timeline=Even())

    def __call__(self, samples: int, steps: int) -> None:
        bench = self._bench
        bench.events.clear()
        for seed in range(samples):
            bench.add(self._job(seed, steps))
        bench.run()
        assert not failures(bench.events), failures(bench.events)

    def close(self) -> None:
        """Put the pipeline's own entry points back."""
        self._bench.close()

    def _job(self, seed: int, steps: int) -> Job:
        prompt = _prompt()
        return Job(
            id=prompt, endpoint="tree", prompt=prompt, num_inference_steps=steps,
            guidance_scale=self._tree.guidance, width=EDGE, height=EDGE, seeds=(seed,),
            arguments=dict(self._tree.arguments),
        )


class Even(HostTimeline):
    """A device that takes as long for any forward: large ones are best."""

    def __init__(self) -> None:
        self._moments = itertools.count()

    def mark(self) -> HostMark:
        """A moment after all others."""
        return HostMark(next(self._moments))


def _prompt() -> str:
    return f"a red apple on a blue background {next(numbers):06d}"


if __name__ == "__main__":
    main()
