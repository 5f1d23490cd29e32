"""A process that is stopped for longer than others wait for it, and goes on where it was."""

import asyncio
import os
import signal
import time
from pathlib import Path

from tests.resilience.house import drawn, two_at_work
from tests.resilience.outages import AT_WORK_SECONDS, drawings_of, overlap
from tests.resilience.row import Row
from tests.runs.server import Drawing

ASLEEP_SECONDS = 20.0
"""Others take over what the dead hold in 12."""

WAKING_SECONDS = 3.0
"""In which one that wakes has to find out, and to put down, what others have taken over."""

Sleep = tuple[float, float]


async def asleep(folder: Path, times: int) -> Row:
    """Stop one of two processes so often, and cut it off from its lock meanwhile."""
    sleeps: list[Sleep] = []
    async with two_at_work(folder) as (house, server):
        sleeper = house.processes[1].pid
        async with house.load.running() as ledger:
            for _ in range(times):
                await asyncio.sleep(AT_WORK_SECONDS)
                began = time.monotonic()
                os.kill(sleeper, signal.SIGSTOP)
                try:
                    await asyncio.to_thread(server.stop, "immediate")
                    await asyncio.to_thread(server.start)
                    await asyncio.sleep(ASLEEP_SECONDS)
                finally:
                    os.kill(sleeper, signal.SIGCONT)
                sleeps.append((began, time.monotonic()))
            await asyncio.sleep(AT_WORK_SECONDS)
        faults = await house.faults() + house.ended()
    faults += drawn_after_waking(drawn(folder), sleeper, sleeps)
    return Row(
        f"one of two processes stopped {times} times for {ASLEEP_SECONDS:g} s, its lock lost "
        f"meanwhile; {ledger.told()}",
        "what was accepted ends, once; who wakes puts down what others have taken over",
        f"{len(ledger.runs)} runs, {len(ledger.batches)} batches; {ledger.num_refused} told to "
        f"come later, {ledger.num_broken_off} broken off",
        tuple(faults),
    )


def drawn_after_waking(file: Path, sleeper: int, sleeps: list[Sleep]) -> list[str]:
    """The jobs that two processes drew at once, but for what was only held in a sleep."""

    def at_work(drawing: Drawing) -> Drawing:
        for fell, woke in sleeps:
            if drawing.pid == sleeper and drawing.began < woke and fell < drawing.ended:
                ended = fell if drawing.ended < woke + WAKING_SECONDS else drawing.ended
                return Drawing(drawing.job_id, sleeper, drawing.began, ended)
        return drawing

    return [
        f"job {job_id} was drawn by two processes at once"
        for job_id, found in drawings_of(file).items()
        if overlap([at_work(drawing) for drawing in found])
    ]
