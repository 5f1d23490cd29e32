"""What is measured of a pipeline on a device: each measure fills the rows it names."""

import itertools
import time
from collections.abc import Callable, Iterator
from functools import partial
from statistics import median
from typing import Any, NamedTuple

import torch
from torch.profiler import ProfilerActivity, profile

from gateway.job import AdapterUse, Job
from tests.benchmarks.device.bare import DENOISERS, Captured, wrapped
from tests.benchmarks.device.bench import Bench, Clock, UnmeasuredError, counted, need_cuda
from tests.benchmarks.device.engine import Drawing, Load, routes
from tests.benchmarks.table import Row, percentile

NUM_ADAPTERS = 8
NUM_TOGETHER = 8
NUM_BUSY, BUSY_STEPS = 4, 10
LONG_STEPS = 12
LEVEL = 1.0
COMPILE = {"none": 0.0, "graphs": 5.0, "regional": 60.0}
"""Ways of compiling, and the seconds that each takes before it is of use."""
BARE, STATIC = "bare pipeline", "best static batch"
RATE, MS = "images/s", "ms"

Figures = tuple[float, float]
"""What was measured, and what it is compared with."""


class Measure(NamedTuple):
    """Rows and what fills them, in order; `rounds` is about how many lone pictures it takes."""

    rows: tuple[Row, ...]
    figures: Callable[[Bench], Iterator[Figures]]
    rounds: int
    least_seconds: float = 0.0


def row(name: str, unit: str, compared_with: str, aim: str = "") -> Row:
    """A row that is not measured yet."""
    return Row(name, unit, None, compared_with, None, aim)


def lone(bench: Bench) -> Iterator[Figures]:
    """Requests of the engine and calls of the bare pipeline, by turns."""
    engine = bench.engine()
    ours, theirs = [], []
    for number in range(bench.rounds):
        ours.append(engine.draw(bench.job()).seconds)
        theirs.append(bench.bare.seconds(first=number))
    yield 1e3 * median(ours), 1e3 * median(theirs)


def ceiling(bench: Bench) -> Iterator[Figures]:
    """The same calls, captured by hand."""
    need_cuda(bench)
    engine = bench.engine()
    captured = Captured(bench.bare, engine.loaded.entries)
    captured.seconds()
    ours, theirs = [], []
    for _ in range(bench.rounds):
        ours.append(engine.draw(bench.job()).seconds)
        theirs.append(captured.seconds())
    yield 1e3 * median(ours), 1e3 * median(theirs)


def saturated(bench: Bench) -> Iterator[Figures]:
    """The engine full, against the best batch of the bare pipeline; then their memory."""
    engine = bench.engine()
    rate = bench.saturated(engine)
    yield rate, bench.static[0]
    need_cuda(bench)
    torch.cuda.reset_peak_memory_stats()
    bench.saturated(engine)
    ours = torch.cuda.max_memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    bench.bare.draw(bench.static[1])
    yield ours / 2**30, torch.cuda.max_memory_allocated() / 2**30


def host_share(bench: Bench) -> Iterator[Figures]:
    """The processor time of the engine's thread a picture, against the device's."""
    engine, num = bench.engine(), 2 * bench.num_clients
    with bench.load(engine) as load:
        before = engine.on_thread(time.thread_time)
        load.take(num)
        host = (engine.on_thread(time.thread_time) - before) / num
        need_cuda(bench)
        with profile(activities=[ProfilerActivity.CUDA]) as seen:
            load.take(bench.num_clients)
            torch.cuda.synchronize()
    device = sum(event.self_device_time_total for event in seen.key_averages()) / 1e6
    yield 1e3 * host, 1e3 * device / bench.num_clients


def not_denoising(bench: Bench) -> Iterator[Figures]:
    """What of a lone request is not between the beginning and the end of a denoiser's call."""
    engine, clock = bench.engine(), Clock(bench.device)
    entries = [one for one in engine.loaded.entries if one.component in DENOISERS]
    rests, wholes = [], []
    for _ in range(bench.rounds):
        spans: list[Any] = []

        def timed(_: Any, original: Any, spans: list[Any] = spans) -> Any:
            def call(*args: Any, **kwargs: Any) -> Any:
                began = clock.now()
                result = original(*args, **kwargs)
                spans.append((began, clock.now()))
                return result

            return call

        with wrapped(entries, timed):
            whole = engine.draw(bench.job()).seconds
        wholes.append(whole)
        rests.append(whole - sum(clock.between(*span) for span in spans))
    yield 1e3 * median(rests), 1e3 * median(wholes)


def joining(bench: Bench) -> Iterator[Figures]:
    """How late a one-step picture comes beside a long one, and after a cancelled one, in steps."""
    engine = bench.engine()
    for is_cancelled in (False, True):
        late, steps = [], []
        for _ in range(3):
            alone = median(engine.draw(bench.job(1)).seconds for _ in range(3))
            long = engine.ask(bench.job(LONG_STEPS))
            long.wait_for_steps(2)
            if is_cancelled:
                engine.cancel(long)
            late.append(max(0.0, engine.draw(bench.job(1)).seconds - alone))
            if not is_cancelled:
                long.pixels()
            whole = engine.draw(bench.job(LONG_STEPS)).seconds
            steps.append((whole - alone) / (LONG_STEPS - 1))
        yield 1e3 * median(late), 1e3 * median(steps)


def differences(bench: Bench) -> Iterator[Figures]:
    """The same requests alone and together: the largest difference of any sample of a pixel."""
    for is_invariant in (False, True):
        engine = bench.engine(batch_invariant=is_invariant)
        jobs = [bench.job() for _ in range(NUM_TOGETHER)]
        together = engine.draw_together(jobs)
        pairs = zip(jobs, together, strict=True)
        yield max(_difference(engine.draw(job), one) for job, one in pairs), LEVEL


def compiled(bench: Bench, way: str) -> Iterator[Figures]:
    """A way in which a card can have forwards compiled: lone, and full."""
    if way != "none":
        need_cuda(bench)
    engine = bench.engine(compile=way)
    for _ in range(2):  # each batch size is recorded or compiled when it has been asked for
        bench.saturated(engine)
        if not engine.is_ready(bench.budget.left / 2):
            raise UnmeasuredError("compiling took too long")
    yield 1e3 * median(bench.lone(engine)), 1e3 * bench.lone_seconds
    yield bench.saturated(engine), bench.static[0]


def adapters(bench: Bench) -> Iterator[Figures]:
    """Eight clients with as many adapters, with one, and with none."""
    engine = bench.engine(num_adapters=NUM_ADAPTERS)
    uses = [(AdapterUse(route),) for route in routes(NUM_ADAPTERS)]
    rates, none_at_all = [], [()]
    for given in (uses, uses[:1], none_at_all):
        turns = itertools.cycle(given)
        load = Load(engine, partial(_job_of, bench, turns), NUM_TOGETHER)
        load.take(NUM_TOGETHER)
        rates.append(2 * NUM_TOGETHER / load.take(2 * NUM_TOGETHER))
        load.stop()
    mixed, one, none = rates
    yield mixed, one
    yield mixed, none


def beside(bench: Bench) -> Iterator[Figures]:
    """One-step pictures while four clients ask for long ones."""
    engine = bench.engine()
    alone = median(engine.draw(bench.job(1)).seconds for _ in range(bench.rounds))
    busy = Load(engine, lambda: bench.job(BUSY_STEPS), NUM_BUSY)
    short = [engine.draw(bench.job(1)).seconds for _ in range(3 * bench.rounds)]
    busy.stop()
    yield 1e3 * percentile(short, 99), 1e3 * alone


def synchronisations(bench: Bench) -> Iterator[Figures]:
    """How often the host waits for the device, a step: the engine full, and the bare pipeline."""
    need_cuda(bench)
    engine = bench.engine()
    with bench.load(engine) as load, counted() as ours:
        load.take(bench.num_clients)
    with counted() as theirs:
        bench.bare.draw(bench.static[1])
    yield len(ours) / (bench.num_clients * bench.steps), len(theirs) / bench.steps


def _job_of(bench: Bench, turns: Iterator[tuple[AdapterUse, ...]]) -> Job:
    return bench.job(adapters=next(turns))


def _difference(one: Drawing, other: Drawing) -> float:
    ours, theirs = (
        torch.frombuffer(bytearray(drawing.pixels().data), dtype=torch.uint8).int()
        for drawing in (one, other)
    )
    return float((ours - theirs).abs().max())


MEASURES = (
    Measure((row("lone request", MS, BARE, "≤ 1.1"),), lone, 2),
    Measure((row("lone request", MS, "its calls as captured graphs"),), ceiling, 3),
    Measure(
        (
            row("saturated", RATE, STATIC, "≥ 0.95"),
            row("memory at its most, saturated", "GiB", STATIC),
        ),
        saturated, 12,
    ),
    Measure((row("the host's time a picture, saturated", MS, "the device's"),), host_share, 6),
    Measure(
        (row("not denoising, of a lone request", MS, "all of it", "≤ 0.25"),), not_denoising, 2
    ),
    Measure(
        (
            row("a request joins a running one after", MS, "a step", "≤ 2"),
            row("a cancelled request is gone after", MS, "a step", "≤ 2"),
        ),
        joining, 8,
    ),
    Measure(
        (
            row("largest difference, alone and together", "of 255", "one level", "≤ 1"),
            row("the same, batch_invariant", "of 255", "one level", "0"),
        ),
        differences, 6,
    ),
    Measure((row("waits for the device, a step", "times", BARE, "0"),), synchronisations, 4),
    Measure(
        (
            row("8 clients with 8 adapters", RATE, "with one adapter"),
            row("8 clients with 8 adapters", RATE, "with none"),
        ),
        adapters, 12,
    ),
    Measure((row("1 step beside 10 steps, p99", MS, "alone"),), beside, 8),
    *(
        Measure(
            (
                row(f"lone request, compile = {way}", MS, BARE),
                row(f"saturated, compile = {way}", RATE, STATIC),
            ),
            partial(compiled, way=way), 16, least_seconds,
        )
        for way, least_seconds in COMPILE.items()
    ),
)
"""In the order of what is wanted most: the time may end before the list does."""
