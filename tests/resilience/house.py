"""A gateway with two keys and their webhook receivers, under load, to be tormented."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import sqlalchemy as sa

from gateway.runs.durable.schema import batches, places, runs, webhook_events
from gateway.runs.hooks.events import UNDELIVERED
from gateway.runs.records import ENDED
from tests.resilience.audit import audit, honest_events, workflow_faults
from tests.resilience.ledger import new_owner
from tests.resilience.load import LIMITED_SAMPLES, Load
from tests.runs import postgres
from tests.runs.receiver import Receiver, receiving
from tests.runs.server import Process

SETTLE_SECONDS = 180
OPEN_BATCHES = ("validating", "in_progress", "finalizing", "cancelling")


@dataclass(frozen=True)
class House:
    """One database, its processes, their clients, and where webhooks go."""

    processes: Sequence[Process]
    load: Load
    receivers: Sequence[Receiver]
    engine: sa.Engine

    async def settled(self, seconds: float = SETTLE_SECONDS) -> None:
        """Wait until nothing is left to do; what still is will be found by the audit."""
        deadline = time.monotonic() + seconds
        while self._num_open() and time.monotonic() < deadline:
            await asyncio.sleep(0.25)

    def num_failed(self) -> int:
        """How many runs ended as failed."""
        with self.engine.connect() as connection:
            count = sa.select(sa.func.count()).where(runs.c.status == "failed")
            return connection.execute(count).scalar_one()

    async def faults(self, crashes: Sequence[float] = ()) -> list[str]:
        """Every promise that was not kept."""
        await self.settled()
        url = self.processes[0].url
        return await audit(url, self.load, self.receivers, self.engine, crashes)

    def ended(self) -> list[str]:
        """The processes that ended by themselves, each a fault."""
        return [f"a process ended: {one.log}" for one in self.processes if not one.is_running]

    def _num_open(self) -> int:
        counts = (
            sa.select(sa.func.count()).where(runs.c.status.not_in(ENDED)),
            sa.select(sa.func.count()).where(
                webhook_events.c.state.in_(UNDELIVERED), honest_events(self.receivers)
            ),
            sa.select(sa.func.count()).where(batches.c.status.in_(OPEN_BATCHES)),
            sa.select(sa.func.count()).select_from(places),
        )
        with self.engine.connect() as connection:
            num_open = sum(connection.execute(count).scalar_one() for count in counts)
            return num_open + len(workflow_faults(self.receivers, connection))


@asynccontextmanager
async def tormented(
    folder: Path,
    database: str | None = None,
    *,
    seed: int = 0,
    processes: Sequence[Process] = (),
) -> AsyncIterator[House]:
    """Everything that a scenario needs, its processes not yet started, killed at the end."""
    data = folder / "data"
    processes = processes or (Process(data, database),)
    chance = random.Random(seed)
    ann, ann_signs = new_owner(data, "ann")
    bob, bob_signs = new_owner(data, "bob", concurrent_samples=LIMITED_SAMPLES)
    with ExitStack() as stack:
        receivers = [
            stack.enter_context(receiving(secret, *_moods(chance)))
            for secret in (ann_signs, bob_signs)
        ]
        owners = [
            replace(owner, webhook=receiver.url)
            for owner, receiver in zip((ann, bob), receivers, strict=True)
        ]
        engine = sa.create_engine(_readable(data, database))
        stack.callback(engine.dispose)
        for process in processes:
            stack.callback(process.kill)
        load = Load([process.url for process in processes], owners, chance)
        try:
            yield House(processes, load, receivers, engine)
        except Exception as error:
            for process in processes:
                error.add_note(process.last_words)
            raise


@asynccontextmanager
async def two_at_work(folder: Path) -> AsyncIterator[tuple[House, postgres.Server]]:
    """Two processes that have begun on one PostgreSQL, and write what they draw to `drawn()`."""
    with postgres.running() as server:
        database, environment = server.new_database(), {"DRAWN": str(drawn(folder))}
        processes = [
            Process(folder / "data", database, environment=environment) for _ in range(2)
        ]
        async with tormented(folder, database, processes=processes) as house:
            for process in processes:
                await asyncio.to_thread(process.begin)
            yield house, server


def drawn(folder: Path) -> Path:
    """Where the two write what they draw."""
    return folder / "drawn.jsonl"


def _moods(chance: random.Random) -> list[int]:
    """What a receiver says to begin with: now and then that it is unwell."""
    return chance.choices((200, 503), (95, 5), k=10_000)


def _readable(data: Path, database: str | None) -> sa.URL:
    """Where the database is read that a process writes."""
    url = sa.make_url(database or f"sqlite:///{data / 'runs.sqlite'}")
    return url.set(drivername="postgresql+psycopg") if url.drivername == "postgresql" else url
