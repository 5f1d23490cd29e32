"""Faults that pass: what was accepted finishes once they have, without a restart, and once."""

import asyncio
import errno
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from litestar.testing import TestClient

from gateway.app import create_app
from gateway.job import Finished, Job
from gateway.runs.durable.schema import claims, outputs, places
from gateway.runs.runs import Runs
from gateway.settings import Settings
from tests.runs import postgres
from tests.runs.batches.test_batch_work import begun, content, ended
from tests.runs.batches.test_batch_work import opened as opened_for_batches
from tests.runs.house import OWNER, draw, gateway_secret, opened, order, until
from tests.runs.receiver import receiving
from tests.small_engine import TestEngine, small_catalog

OUTAGE_SECONDS = 1.0
Fault = Callable[[Runs], AbstractContextManager[None]]


@contextmanager
def unwritable_disk(runs: Runs) -> Iterator[None]:
    """SQLite may not write, as on a disk that has gone read-only or is full."""
    is_over = False

    def forbid(connection: Any, *_: Any) -> None:
        connection.execute(f"PRAGMA query_only = {not is_over}")

    sa.event.listen(runs.engine, "checkout", forbid)
    yield
    is_over = True


@contextmanager
def lost_store(runs: Runs) -> Iterator[None]:
    """The folder of pictures is a file for a while."""
    folder = Path(runs.settings.store_location)
    kept = folder.rename(folder.with_name("elsewhere"))
    folder.write_bytes(b"")
    yield
    folder.unlink()
    kept.rename(folder)


@pytest.fixture(params=["unwritable disk", "lost store", "lost server"])
def fault(request: pytest.FixtureRequest) -> tuple[str | None, Fault]:
    """A database, and what happens to it or the store for a moment."""
    if request.param != "lost server":
        return None, {"unwritable disk": unwritable_disk, "lost store": lost_store}[request.param]
    server: postgres.Server = request.getfixturevalue("postgres_server")

    @contextmanager
    def lost_server(_runs: Runs) -> Iterator[None]:
        server.stop()
        try:
            yield
        finally:
            server.start()

    return server.new_database(), lost_server


def test_runs_in_flight_outlive_it(tmp_path: Path, fault: tuple[str | None, Fault]) -> None:
    database, happens = fault

    async def test(url: str) -> None:
        engine = TestEngine(0.1)
        async with opened(tmp_path, database, engine, url_allow=("127.0.0.1",)) as runs:
            orders = [order(seed=seed, webhook=url, concurrency_limit=2) for seed in range(4)]
            new = [run for each in orders for run in await runs.accept([each], OWNER)]
            waiting = [asyncio.create_task(runs.wait(run.id, OWNER)) for run in new]
            await until(lambda: asyncio.sleep(0, bool(engine.jobs)))
            with happens(runs):
                await asyncio.sleep(OUTAGE_SECONDS)
            async with asyncio.timeout(30):
                done = await asyncio.gather(*waiting)
            assert [run.status for run in done] == ["success"] * 4
            for run in done:
                (output,) = await runs.outputs(run.id)
                assert [item.seed for item in output.items] == [run.order.inputs["seed"]]

            async def all_told() -> bool:
                states = [await runs.webhook_states(run.id) for run in done]
                return all(state == "delivered" for each in states for state in each)

            await until(all_told)
            assert await left(runs, places) == await left(runs, claims) == 0
            assert await left(runs, outputs) == 4

    with receiving(gateway_secret(tmp_path)) as receiver:
        asyncio.run(test(receiver.url))
    told: dict[str, list[str]] = {}
    for event in receiver.events:
        told.setdefault(event["run_id"], []).append(event["status"])
    assert list(told.values()) == [["queued", "started", "running", "success"]] * 4


def test_a_receipt_without_descriptors_is_written_later(tmp_path: Path) -> None:
    lacking = [OSError(errno.EMFILE, os.strerror(errno.EMFILE))] * 3

    def describe(_job: Job, _finished: Finished) -> dict[str, str]:
        if lacking:
            raise lacking.pop()
        return {}

    async def test() -> None:
        async with opened(tmp_path, None) as runs:
            performer = runs.performer
            performer.equipment = msgspec.structs.replace(performer.equipment, describe=describe)
            (run,) = await draw(runs, order())
            assert (run.status, lacking) == ("success", [])

    asyncio.run(test())


async def left(runs: Runs, table: sa.Table) -> int:
    """How many rows a table has."""

    def count() -> int:
        with runs.engine.connect() as connection:
            return connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()

    return await runs.ground.ask(count)


@pytest.mark.parametrize("happens", [unwritable_disk, lost_store])
async def test_batches_outlive_it(tmp_path: Path, happens: Fault) -> None:
    async with opened_for_batches(tmp_path, None) as runs:
        batch = await begun(runs, *["a cat"] * 40)
        with happens(runs):
            await asyncio.sleep(OUTAGE_SECONDS)
        batch = await ended(runs, batch)
        assert (batch.status, batch.num_completed) == ("completed", 40)
        made = await content(runs, batch.output_file_id)
        assert [line["custom_id"] for line in made] == [str(number) for number in range(40)]


ASKED = [
    ("GET", "/api/run/none", None),
    ("GET", "/api/batch/none", None),
    ("GET", "/api/deployment/none", None),
    ("POST", "/api/run/queue", {"model_id": "tiny", "inputs": {"prompt": "a cat"}}),
    ("POST", "/api/run/sync", {"model_id": "tiny", "inputs": {"prompt": "a cat"}}),
    ("GET", "/v1/files", None),
    ("GET", "/v1/files/none", None),
    ("GET", "/v1/batches", None),
    ("POST", "/v1/batches/none/cancel", None),
]


def test_whoever_asks_meanwhile_is_told_that_it_passes(
    tmp_path: Path, postgres_server: postgres.Server
) -> None:
    settings = Settings(data=tmp_path, database=postgres_server.new_database(), endpoints=("tiny",))
    with TestClient(create_app(settings, TestEngine(), small_catalog())) as client:
        postgres_server.stop()
        try:
            for method, path, body in ASKED:
                answer = client.request(method, path, json=body)
                assert answer.status_code == 503, (path, answer.text)
                assert int(answer.headers["retry-after"]) > 0
                found = answer.json()
                code = found["code"] if path.startswith("/api") else found["error"]["code"]
                assert code == "database_unavailable"
        finally:
            postgres_server.start()
        for method, path, body in ASKED:
            assert client.request(method, path, json=body).status_code != 503


def test_work_that_goes_nowhere_is_begun_anew(
    tmp_path: Path, database: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workflows that ended without their work, that nobody works on, or that are gone."""
    monkeypatch.setattr("gateway.runs.runs.LOOK_SECONDS", 0.05)

    async def test(url: str) -> None:
        async with opened(tmp_path, database, url_allow=("127.0.0.1",)) as runs:
            table = runs.durable._workflows

            def spoil(run_id: str, status: str | None) -> None:
                same = table.c.workflow_uuid.contains(run_id)
                with runs.engine.begin() as connection:
                    if status is None:
                        connection.execute(sa.delete(table).where(same))
                    else:
                        values = {"status": status, "executor_id": runs.slot.name}
                        connection.execute(sa.update(table).where(same).values(values))

            with monkeypatch.context() as patched:
                for name in ("perform", "deliver"):
                    patched.setattr(runs, name, lambda _id: asyncio.sleep(0))
                statuses = ("ERROR", "MAX_RECOVERY_ATTEMPTS_EXCEEDED", "PENDING", None)
                new = [(await runs.accept([order(webhook=url)], OWNER))[0] for _ in statuses]
                await until(lambda: asyncio.sleep(0, not runs.durable.doing))
                for run, status in zip(new, statuses, strict=True):
                    await runs.ground.ask(spoil, run.id, status)
            for run in new:
                assert (await runs.wait(run.id, OWNER)).status == "success"

                async def all_told(run_id: str = run.id) -> bool:
                    return set(await runs.webhook_states(run_id)) == {"delivered"}

                await until(all_told)

    with receiving(gateway_secret(tmp_path)) as receiver:
        asyncio.run(test(receiver.url))
    assert sorted(receiver.statuses) == sorted(["queued", "started", "running", "success"] * 4)
