"""The gateway against other servers and the best static batch, by turns, the idle ones stopped.

Every figure is the median of some rounds; of `mosec` the better one of two waits is taken.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import chain
from pathlib import Path
from statistics import median
from typing import NamedTuple

from tests.benchmarks.bare import BarePipeline
from tests.benchmarks.load import Load, drive, drive_beside
from tests.benchmarks.processes import Contender, batching, locking
from tests.benchmarks.table import Row, percentile
from tests.benchmarks.workload import ROUTES

WAITS_MS = (8, 10)
NUM_BUSY, BUSY_STEPS, NUM_SHORT = 4, 10, 12
IDLE_SECONDS = 5.0
STATIC_SECONDS = 1.0
NUM_REQUESTS = 120
"""At least so many of several clients: of fewer than a hundred the p99 would be the slowest."""
NUM_LONE = 24
"""Of a single client, which has nobody to wait for."""
MOSEC, LOCKING = "mosec, batches of 8", "locking server"
MS, RATE = "ms", "images/s"


class Scenario(NamedTuple):
    """What clients ask for, and how."""

    name: str
    load: Callable[[str], Load]
    steps: int
    num_clients: int = 8
    is_full: bool = True
    """Whether it asks how many pictures there are, rather than how long one takes."""
    is_plain: bool = False
    """Whether the locking server, which knows no adapters and is slow, is asked as well."""


def count(number: int, noun: str) -> str:
    """`1 step`, `2 steps`."""
    return f"{number} {noun}{'s' * (number > 1)}"


def _clients(number: int, steps: int) -> Scenario:
    name = f"{count(number, 'client')}, {count(steps, 'step')}"
    load = partial(_drive, num_clients=number, steps=steps)
    return Scenario(name, load, steps, number, is_plain=steps == 1)


def _drive(url: str, num_clients: int, steps: int) -> Load:
    number = max(NUM_REQUESTS, 3 * num_clients) if num_clients > 1 else NUM_LONE
    return drive(url, num_clients, number, steps)


SCENARIOS = (
    *(_clients(number, steps) for steps in (1, 4) for number in (1, 8, 60)),
    Scenario("8 clients, one adapter", lambda url: drive(url, 8, NUM_REQUESTS, 1, ROUTES[:1]), 1),
    Scenario("8 clients, eight adapters", lambda url: drive(url, 8, NUM_REQUESTS, 1, ROUTES), 1),
    Scenario(
        "1 step beside 10 steps",
        lambda url: drive_beside(url, NUM_BUSY, BUSY_STEPS, NUM_SHORT), 1, is_full=False,
        is_plain=True,
    ),
)


def rows(
    gateway: Contender, weights: Path, bare: BarePipeline, num_rounds: int
) -> Iterator[Row]:
    """Every scenario, then what they cost at rest."""
    with ExitStack() as running:
        mosec = [
            running.enter_context(batching(weights, bare.device, wait)) for wait in WAITS_MS
        ]
        locked = running.enter_context(locking(weights, bare.device))
        for contender in (gateway, *mosec, locked):
            contender.stop()
        for scenario in SCENARIOS:
            others = {MOSEC: mosec} | ({LOCKING: [locked]} if scenario.is_plain else {})
            race = Race(scenario, bare)
            race.run([gateway, *chain(*others.values())], num_rounds)
            yield from race.rows(gateway, others)
        yield from idle_rows(gateway, mosec[-1])


class Race:
    """The loads of a scenario, by contender, measured by turns."""

    def __init__(self, scenario: Scenario, bare: BarePipeline) -> None:
        self._scenario = scenario
        self._bare = bare
        self._loads: dict[Contender, list[Load]] = defaultdict(list)
        self._batch = bare.best_batch(scenario.num_clients, scenario.steps, STATIC_SECONDS)
        self._static: list[float] = []

    def run(self, contenders: Sequence[Contender], num_rounds: int) -> None:
        """Measure all of them so often, every second time from the last to the first."""
        steps = self._scenario.steps
        for number in range(num_rounds):
            self._static.append(self._bare.per_second(self._batch, steps, STATIC_SECONDS))
            for contender in contenders[:: (1, -1)[number % 2]]:
                with contender.awake():
                    self._loads[contender].append(self._scenario.load(contender.url))

    def rows(
        self, gateway: Contender, others: Mapping[str, Sequence[Contender]]
    ) -> Iterator[Row]:
        """The gateway's figures beside the best of each other kind's."""
        name = self._scenario.name
        if self._scenario.is_full:
            rate, best = self._rate(gateway), f"best static batch ({self._batch})"
            yield Row(name, RATE, rate, best, median(self._static), "≥ 0.95")
            for kind, those in others.items():
                yield Row(name, RATE, rate, kind, max(map(self._rate, those)), "≥ 1")
        for percent in (50, 99):
            ours = self._wait(gateway, percent)
            for kind, those in others.items():
                theirs = min(self._wait(one, percent) for one in those)
                yield Row(f"{name}, p{percent}", MS, ours, kind, theirs, "≤ 1")

    def _rate(self, contender: Contender) -> float:
        return median(load.per_second for load in self._loads[contender])

    def _wait(self, contender: Contender, percent: float) -> float:
        return 1e3 * median(percentile(one.seconds, percent) for one in self._loads[contender])


def idle_rows(gateway: Contender, mosec: Contender) -> Iterator[Row]:
    """What each takes when nothing is asked for, after all of the above."""
    shares, memory = [], []
    for contender in (gateway, mosec):
        with contender.awake():
            time.sleep(1)
            used = contender.cpu_seconds
            time.sleep(IDLE_SECONDS)
            shares.append(100 * (contender.cpu_seconds - used) / IDLE_SECONDS)
            memory.append(contender.resident_mib)
    yield Row("idle, after all that", "% of a core", shares[0], MOSEC, shares[1], "≤ 1 %")
    yield Row("memory, after all that", "MiB", memory[0], MOSEC, memory[1])
