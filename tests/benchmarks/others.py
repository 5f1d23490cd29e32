"""The gateway against other servers and the best static batch, by turns, the idle ones stopped.

Every figure is the median of some rounds; of `mosec` the better one of two waits is taken.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
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
MOSEC, LOCKING = "mosec, batches of 8", "locking server"
MS, RATE = "ms", "images/s"


class Scenario(NamedTuple):
    """What clients ask for, and how."""

    name: str
    load: Callable[[str], Load]
    steps: int
    is_full: bool = True
    """Whether it asks how many pictures there are, rather than how long one takes."""


def _clients(number: int, steps: int) -> Scenario:
    name = f"{number} client{'s' * (number > 1)}, {steps} step{'s' * (steps > 1)}"
    return Scenario(name, partial(_drive, num_clients=number, steps=steps), steps)


def _drive(url: str, num_clients: int, steps: int) -> Load:
    return drive(url, num_clients, max(16, 3 * num_clients), steps)


SCENARIOS = (
    *(_clients(number, steps) for steps in (1, 4) for number in (1, 8, 60)),
    Scenario("8 clients, one adapter", lambda url: drive(url, 8, 48, 1, ROUTES[:1]), 1),
    Scenario("8 clients, eight adapters", lambda url: drive(url, 8, 48, 1, ROUTES), 1),
    Scenario(
        "1 step beside 10 steps",
        lambda url: drive_beside(url, NUM_BUSY, BUSY_STEPS, NUM_SHORT), 1, is_full=False,
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
        everyone = [gateway, *mosec, locked]
        for contender in everyone:
            contender.stop()
        for scenario in SCENARIOS:
            yield from Race(scenario, everyone, num_rounds).rows(gateway, mosec, locked, bare)
        yield from idle_rows(gateway, mosec[-1])


class Race:
    """The loads of a scenario, by contender, measured by turns."""

    def __init__(
        self, scenario: Scenario, contenders: Sequence[Contender], num_rounds: int
    ) -> None:
        self._scenario = scenario
        self._loads: dict[Contender, list[Load]] = defaultdict(list)
        self._cpu: dict[Contender, float] = defaultdict(float)
        self._num_rounds = num_rounds
        for number in range(num_rounds):
            for contender in contenders[:: (1, -1)[number % 2]]:
                with contender.awake():
                    used = contender.cpu_seconds
                    self._loads[contender].append(scenario.load(contender.url))
                    self._cpu[contender] += contender.cpu_seconds - used

    def rows(
        self, gateway: Contender, mosec: Sequence[Contender], locked: Contender, bare: BarePipeline
    ) -> Iterator[Row]:
        """The gateway's figures beside the others'."""
        name = self._scenario.name
        if self._scenario.is_full:
            static, size = bare.static_batch(self._scenario.steps, STATIC_SECONDS)
            rate = self._rate(gateway)
            best = f"best static batch ({size})"
            yield Row(name, RATE, rate, best, static, "≥ 0.95")
            yield Row(name, RATE, rate, MOSEC, max(map(self._rate, mosec)), "≥ 1")
            yield Row(name, RATE, rate, LOCKING, self._rate(locked), "≥ 1")
        for percent in (50, 99):
            ours, theirs, last = (
                min(self._wait(one, percent) for one in those)
                for those in ([gateway], mosec, [locked])
            )
            yield Row(f"{name}, p{percent}", MS, ours, MOSEC, theirs, "≤ 1")
            if not self._scenario.is_full:
                yield Row(f"{name}, p{percent}", MS, ours, LOCKING, last, "≤ 1")

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
