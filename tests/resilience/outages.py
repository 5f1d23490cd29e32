"""A database that goes and comes again under two processes at work."""

import asyncio
import itertools
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import msgspec

from tests.resilience.house import drawn, two_at_work
from tests.resilience.row import Row
from tests.runs.server import Drawing

AT_WORK_SECONDS = 3.0


async def outages(folder: Path, outages_seconds: Sequence[float]) -> Row:
    """Stop the database so often, each time for so long: broken off and crashed by turns."""
    async with two_at_work(folder) as (house, server):
        modes = itertools.cycle(("fast", "immediate"))
        async with house.load.running() as ledger:
            for seconds, mode in zip(outages_seconds, modes, strict=False):
                await asyncio.sleep(AT_WORK_SECONDS)
                await asyncio.to_thread(server.stop, mode)
                await asyncio.sleep(seconds)
                await asyncio.to_thread(server.start)
            await asyncio.sleep(AT_WORK_SECONDS)
        faults = await house.faults() + house.ended()
    doubled = drawn_at_once(drawn(folder))
    faults += [f"job {job_id} was drawn by two processes at once" for job_id in doubled]
    return Row(
        f"PostgreSQL stopped {len(outages_seconds)} times under two processes, for "
        f"{min(outages_seconds):g}–{max(outages_seconds):g} s; {ledger.told()}",
        "what was accepted ends, once, and is drawn by one process at a time; meanwhile clients "
        "are told to come later; nobody restarts anything",
        f"{len(ledger.runs)} runs, {len(ledger.batches)} batches; {ledger.num_refused} told to "
        f"come later, {ledger.num_broken_off} broken off",
        tuple(faults),
    )


def drawn_at_once(file: Path) -> list[str]:
    """The jobs that two processes drew at the same time."""
    return [job_id for job_id, found in drawings_of(file).items() if overlap(found)]


def drawings_of(file: Path) -> dict[str, list[Drawing]]:
    """Every drawing of each job."""
    drawings: dict[str, list[Drawing]] = defaultdict(list)
    for line in file.read_bytes().splitlines():
        drawing = msgspec.json.decode(line, type=Drawing)
        drawings[drawing.job_id].append(drawing)
    return drawings


def overlap(drawings: list[Drawing]) -> bool:
    """Whether two processes drew at the same time."""
    return any(
        one.pid != other.pid and one.began < other.ended and other.began < one.ended
        for one, other in itertools.combinations(drawings, 2)
    )
