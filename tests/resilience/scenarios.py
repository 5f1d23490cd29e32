"""Every scenario in its long form, by name; the tests run the same functions with less."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from tests.resilience.asleep import asleep
from tests.resilience.clocks import clocks
from tests.resilience.crowd import crowd
from tests.resilience.descriptors import descriptors
from tests.resilience.disk import full_disk
from tests.resilience.fairness import SECONDS, SIZES, fairness
from tests.resilience.fronts import fronts_and_database_killed, many_runs
from tests.resilience.kills import kills
from tests.resilience.outages import outages
from tests.resilience.receivers import hostile_receivers
from tests.resilience.replicas import end_ray, kill, pause, struck
from tests.resilience.row import Row
from tests.resilience.small import small_requests
from tests.resilience.soak import soak
from tests.runs import postgres

Scenario = Callable[[Path], Coroutine[Any, Any, Row]]


async def kills_on_sqlite(folder: Path) -> Row:
    """A hundred kills."""
    return await kills(folder, None, num_kills=100)


async def kills_on_postgresql(folder: Path) -> Row:
    """A hundred kills."""
    with postgres.running() as server:
        return await kills(folder, server.new_database(), num_kills=100)


async def fronts_killed(folder: Path) -> Row:
    """Twenty times a front, and as often the database."""
    return await fronts_and_database_killed(folder, num_kills=20)


async def ten_thousand_runs(folder: Path) -> Row:
    """Over three fronts."""
    return await many_runs(folder, 10_000)


async def replicas_killed(folder: Path) -> Row:
    """Twenty of them, one after another."""
    return await struck(folder, [kill] * 20, "SIGKILL of one of two replicas, 20 times")


async def replicas_stopped(folder: Path) -> Row:
    """Twenty of them, for a while or for good."""
    done = "one of two replicas stopped (SIGSTOP), for a while or for good, 20 times"
    return await struck(folder, [pause] * 20, done)


async def rays_own_killed(folder: Path) -> Row:
    """Twenty times one of the two that a Ray of one's own cannot do without."""
    done = "SIGKILL of the raylet or the GCS of a front's own Ray, 20 times"
    return await struck(folder, [end_ray] * 20, done)


async def a_full_disk(folder: Path) -> Row:
    """Full for a minute, and again."""
    return await full_disk(folder, times=2, seconds=60)


async def no_descriptors(folder: Path) -> Row:
    """Three hundred half requests at a process of 256 descriptors."""
    return await descriptors(folder, limit=256, num_connections=300, seconds=20)


async def database_restarts(folder: Path) -> Row:
    """Short and long, broken off and crashed."""
    return await outages(folder, (1, 1, 5, 5, 20, 20))


async def a_stopped_process(folder: Path) -> Row:
    """Longer than others wait."""
    return await asleep(folder, times=3)


async def clock_jumps(folder: Path) -> Row:
    """A minute of sweeps each, and once more with kills in between."""
    return await clocks(folder, None, rounds=1, seconds=65, restarts=False)


async def clock_jumps_and_restarts(folder: Path) -> Row:
    """Jumps that a new process begins with."""
    return await clocks(folder, None, rounds=2, seconds=10, restarts=True)


async def slow_clients(folder: Path) -> Row:
    """Two thousand of them."""
    return await crowd(folder, 2000)


async def receivers(folder: Path) -> Row:
    """Ten runs for each kind of receiver."""
    return await hostile_receivers(folder, num_runs=10, seconds=45)


async def unfairness(folder: Path) -> Row:
    """180 clients of one key, 20 of another."""
    report = await asyncio.to_thread(fairness, folder)
    sizes = " and ".join(map(str, SIZES))
    return Row(
        f"two keys with {sizes} clients at one door for {SECONDS:g} s",
        "each key has half of the answers, within a tenth; who is refused and comes back when "
        "told is in by the second try, at the median",
        "; ".join(report.lines()),
        tuple(report.faults()),
    )


async def ten_thousand_pictures(folder: Path) -> Row:
    """Of the bundled model."""
    return await soak(folder, 10_000)


SCENARIOS: dict[str, Scenario] = {
    "kills-sqlite": kills_on_sqlite,
    "kills-postgresql": kills_on_postgresql,
    "fronts": fronts_killed,
    "ten-thousand-runs": ten_thousand_runs,
    "replicas-killed": replicas_killed,
    "replicas-stopped": replicas_stopped,
    "rays-own-killed": rays_own_killed,
    "full-disk": a_full_disk,
    "no-descriptors": no_descriptors,
    "database-restarts": database_restarts,
    "stopped-process": a_stopped_process,
    "clock-jumps": clock_jumps,
    "clock-jumps-restarts": clock_jumps_and_restarts,
    "slow-clients": slow_clients,
    "hostile-receivers": receivers,
    "small-requests": small_requests,
    "fairness": unfairness,
    "soak": ten_thousand_pictures,
}
