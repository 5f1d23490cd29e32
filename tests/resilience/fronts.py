"""Three fronts on one PostgreSQL, of which any is killed at any time, and the database too."""

import asyncio
import random
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import sqlalchemy as sa

from gateway.runs.durable import schema
from tests.resilience.bystander import Sight, Sights, bystanding
from tests.resilience.house import House, drawn, tormented
from tests.resilience.ledger import Owner
from tests.resilience.load import run_body
from tests.resilience.outages import drawings_of
from tests.resilience.row import Row
from tests.runs import postgres
from tests.runs.server import Process

NUM_FRONTS = 3
AT_WORK_SECONDS = (0.5, 2.0)
AWAY_SECONDS = (0.5, 3.0)
RUNS_AT_ONCE = 1000
PATIENCE_SECONDS = 3600.0

Window = tuple[float, float]
"""From when to when a front was killed and did not answer yet, in monotonic seconds."""


@asynccontextmanager
async def three_at_work(
    folder: Path, **environment: str
) -> AsyncIterator[tuple[House, postgres.Server]]:
    """Fronts that have begun, each with a folder of its own; pictures lie in one for all."""
    shared = {"GATEWAY_STORE": str(folder / "store"), "GATEWAY_URL_MINUTES": "600"}
    with postgres.running() as server:
        database = server.new_database()
        # The first one's folder has the keys, and brings them to the others.
        places = [folder, *(folder / f"front-{number}" for number in range(1, NUM_FRONTS))]
        for place in places:
            (place / "data").mkdir(parents=True, exist_ok=True)
        fronts = [
            Process(place / "data", database, environment=shared | environment) for place in places
        ]
        async with tormented(folder, database, processes=fronts) as house:
            for front in fronts:
                front.start()
            for front in fronts:
                await asyncio.to_thread(front.wait_for)
            yield house, server


async def fronts_and_database_killed(folder: Path, num_kills: int, seed: int = 0) -> Row:
    """Kill a front so often under load, and as often the database, by turns."""
    chance = random.Random(seed)
    windows: defaultdict[int, list[Window]] = defaultdict(list)
    crashes: list[float] = []
    async with three_at_work(folder, DRAWN=str(drawn(folder))) as (house, server):
        fronts, owner = house.processes, house.load.owners[0]
        async with AsyncExitStack() as held:
            seen = [
                await held.enter_async_context(bystanding(front.url, owner.secret, "tiny"))
                for front in fronts
            ]
            ledger = await held.enter_async_context(house.load.running())
            for _ in range(num_kills):
                await asyncio.sleep(chance.uniform(*AT_WORK_SECONDS))
                number = chance.randrange(len(fronts))
                killed_at = time.monotonic()
                crashes.append(time.time())
                fronts[number].kill()
                await asyncio.to_thread(fronts[number].begin)
                windows[number].append((killed_at, time.monotonic()))
                await asyncio.sleep(chance.uniform(*AT_WORK_SECONDS))
                await asyncio.to_thread(server.stop, "immediate")
                await asyncio.sleep(chance.uniform(*AWAY_SECONDS))
                await asyncio.to_thread(server.start)
            await asyncio.sleep(AT_WORK_SECONDS[1])
        faults = await house.faults(crashes) + house.ended()
        for number, sights in enumerate(seen):
            faults += unexcused(sights, windows[number])
    num_pictures = sum(sights.count("picture") for sights in seen)
    return Row(
        f"of three fronts one killed, and PostgreSQL killed, {num_kills} times each; "
        f"{ledger.told()}",
        "what was accepted ends, once, with the picture asked for; no request for a picture fails "
        "but at a killed front, whether or not there is a database",
        f"{len(ledger.runs)} runs, {len(ledger.batches)} batches; {num_pictures} pictures of "
        f"bystanders; {ledger.num_refused} told to come later, {ledger.num_broken_off} broken off",
        tuple(faults),
    )


def unexcused(sights: Sights, windows: list[Window]) -> list[str]:
    """A bystander's faults but for those at its front while that was dead."""

    def is_excused(one: Sight) -> bool:
        return any(one.at <= end and one.at + one.seconds >= begin for begin, end in windows)

    return [
        f"a bystander's {one.kind}: {one.fault}"
        for one in sights.seen
        if one.fault and not is_excused(one)
    ]


async def many_runs(folder: Path, num_runs: int) -> Row:
    """So many runs over three fronts: each is drawn once, and none is missing."""
    async with three_at_work(folder, DRAWN=str(drawn(folder)), STEP_SECONDS="0.001") as (house, _):
        owner, began = house.load.owners[0], time.monotonic()
        ids = await _queued(house, owner, num_runs)
        faults = await _wait(house.engine, num_runs)
        seconds = time.monotonic() - began
        told, outputs = schema.runs, schema.outputs
        with house.engine.connect() as connection:
            counted = sa.select(told.c.status, sa.func.count()).group_by(told.c.status)
            statuses = {row[0]: row[1] for row in connection.execute(counted)}
            made = Counter(connection.execute(sa.select(outputs.c.run_id)).scalars())
        drawings = drawings_of(drawn(folder))
        per_front = Counter(found[0].pid for found in drawings.values())
    if statuses != {"success": num_runs} or len(set(ids)) != num_runs:
        faults.append(f"{num_runs} runs stand at {statuses}, {len(set(ids))} ids were told")
    if made != Counter(ids):
        faults.append(f"{len(made)} runs have outputs, {sum(made.values())} in all")
    if doubled := [id for id, found in drawings.items() if len(found) > 1]:
        faults.append(f"{len(doubled)} jobs were drawn more than once")
    if len(drawings) != num_runs:
        faults.append(f"{len(drawings)} jobs were drawn for {num_runs} runs")
    shares = ", ".join(str(count) for _, count in per_front.most_common())
    return Row(
        f"{num_runs} runs of one key, queued at three fronts by turns",
        "each ends well, is drawn once, by one front, and has one output",
        f"{num_runs / seconds:.0f} runs a second; drawn by the fronts: {shares}",
        tuple(faults),
    )


async def _queued(house: House, owner: Owner, num_runs: int) -> list[str]:
    """Queue them, a batch at each front by turns; their ids."""
    ids: list[str] = []
    async with httpx.AsyncClient(headers=owner.headers, timeout=600) as client:
        for turn, first in enumerate(range(0, num_runs, RUNS_AT_ONCE)):
            url = house.processes[turn % NUM_FRONTS].url
            body = run_body(first) | {"batch_number": min(RUNS_AT_ONCE, num_runs - first)}
            answer = await client.post(f"{url}/api/run/queue", json=body)
            answer.raise_for_status()
            ids += answer.json()["run_ids"]
    return ids


async def _wait(engine: sa.Engine, num_runs: int) -> list[str]:
    """Wait for the end of all."""
    ended = sa.select(sa.func.count()).where(schema.runs.c.ended_at.is_not(None))
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        with engine.connect() as connection:
            if connection.execute(ended).scalar_one() >= num_runs:
                return []
        await asyncio.sleep(0.25)
    return [f"some runs have not ended after {PATIENCE_SECONDS:g} s"]
