"""Two replicas beside one in the front's own process, a thread each, by turns.

Steps are many, so that what the front does for a picture, on the same two cores, is little.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import NamedTuple

from tests.benchmarks.load import drive
from tests.benchmarks.processes import Contender, arguments_for, gateway
from tests.benchmarks.table import Row, percentile

CLIENTS, STEPS, PICTURES = 16, 10, 160
"""For each replica; more clients than go along at once, so that none is without work, and so many
pictures that it matters little who has the last of them."""
MAX_SECONDS = 60.0

PLAIN, REPLICAS = "one, in the process", "two replicas"
HOP_STEPS, LONE_PICTURES = 1, 48
"""Of pictures whose cost is compared: their pixels travel as far as after many."""


class Cost(NamedTuple):
    """Pictures a second, and of each the median wait and all processes' time, in milliseconds."""

    per_second: float
    wait_ms: float
    cpu_ms: float


def rows(weights: Path, num_rounds: int) -> Iterator[Row]:
    """How much more two draw, and what it costs that pictures come from another process."""
    arguments = arguments_for(weights, "cpu")
    with ExitStack() as running:
        plain, replicas = (
            running.enter_context(gateway((*arguments, *more))).contender
            for more in ((), ("--devices", "cpu:2"))
        )
        contenders = {plain: 1, replicas: 2}
        for contender in contenders:
            drive(contender.url, 2 * CLIENTS, 4 * CLIENTS, HOP_STEPS)  # each replica has drawn
            contender.stop()
        many: dict[Contender, list[Cost]] = {contender: [] for contender in contenders}
        lone: dict[Contender, list[Cost]] = {contender: [] for contender in contenders}
        for number in range(num_rounds):
            for contender in list(contenders)[:: (1, -1)[number % 2]]:
                with contender.awake():
                    many[contender].append(_cost(contender, contenders[contender], STEPS))
                    lone[contender].append(_cost(contender, 0, HOP_STEPS))
        rate = {one: median(cost.per_second for cost in many[one]) for one in contenders}
        yield Row(REPLICAS, "images/s", rate[replicas], PLAIN, rate[plain], "≥ 1.9")
        wait = {one: median(cost.wait_ms for cost in lone[one]) for one in contenders}
        yield Row("a lone picture, p50", "ms", wait[replicas], PLAIN, wait[plain], "≤ 5 ms more")
        cpu = {one: median(cost.cpu_ms for cost in lone[one]) for one in contenders}
        yield Row("a lone picture's processor time", "ms", cpu[replicas], PLAIN, cpu[plain])


def _cost(contender: Contender, num_replicas: int, steps: int) -> Cost:
    """Of pictures that clients of so many replicas ask for; of a single client for none."""
    before = contender.cpu_seconds
    clients = max(1, CLIENTS * num_replicas)
    number = PICTURES * num_replicas or LONE_PICTURES
    load = drive(contender.url, clients, number, steps, max_seconds=MAX_SECONDS)
    spent = contender.cpu_seconds - before
    each = len(load.seconds)
    return Cost(load.per_second, 1e3 * percentile(load.seconds, 50), 1e3 * spent / each)
