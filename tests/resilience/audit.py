"""What was promised held against what is there: every fault found, in words."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import httpx
import msgspec
import sqlalchemy as sa

from gateway.fronts.counts import HELD_SECONDS
from gateway.runs.durable import schema
from gateway.runs.durable.claims import CRASHED, MAX_CRASHES
from gateway.runs.hooks.events import UNDELIVERED
from gateway.runs.records import ENDED
from tests.resilience.ledger import AcceptedBatch, AcceptedRun, Owner
from tests.resilience.load import LIMITED_SAMPLES, Load, shows
from tests.runs.receiver import Receiver

AT_ONCE = 8
LEEWAY_SECONDS = 5.0


async def audit(
    url: str,
    load: Load,
    receivers: Sequence[Receiver],
    engine: sa.Engine,
    crashes: Sequence[float] = (),
) -> list[str]:
    """Every promise that was not kept. `crashes` are when processes were killed."""
    ledger = load.ledger
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        inspector = Inspector(client, crashes)
        checks = [inspector.run(id, run) for id, run in ledger.runs.items()]
        checks += [inspector.batch(id, batch) for id, batch in ledger.batches.items()]
        checks += [inspector.kept(url, data) for url, data in ledger.kept.items()]
        checks += [inspector.picture(url, seed) for url, seed in ledger.pictures.items()]
        checks += [inspector.places(owner) for owner in load.owners]
        gate = asyncio.Semaphore(AT_ONCE)

        async def gated(check: Any) -> list[str]:
            async with gate:
                return list(await check)

        found = await asyncio.gather(*map(gated, checks))
    told = [fault for faults in found for fault in faults]
    return [
        *ledger.faults,
        *told,
        *told_faults(receivers, engine),
        *database_faults(receivers, engine),
    ]


class Inspector:
    """Asks for everything that was promised, as its owner would."""

    def __init__(self, client: httpx.AsyncClient, crashes: Sequence[float]) -> None:
        self.client = client
        self.crashes = crashes

    async def run(self, run_id: str, accepted: AcceptedRun) -> list[str]:
        """An accepted run has ended, with the one picture that it was asked for."""
        path, headers = f"/api/run/{run_id}", accepted.owner.headers
        answer = await self.client.get(path, headers=headers)
        if answer.status_code != 200:
            return [f"run {run_id} is lost: {answer.status_code}"]
        run = answer.json()
        status = run["status"]
        if status == "cancelled" and accepted.may_be_cancelled:
            return []
        if status == "failed" and self._may_be_given_up(run):
            return []
        if status != "success":
            return [f"run {run_id} ended as {status}: {run['run_log']['error']}"]
        images = [image for output in run["outputs"] for image in output["data"]["images"]]
        if [image["seed"] for image in images] != [accepted.seed]:
            return [f"run {run_id} has {len(images)} pictures of {len(run['outputs'])} outputs"]
        return await self.picture(images[0]["url"], accepted.seed)

    def _may_be_given_up(self, run: dict[str, Any]) -> bool:
        """Whether a run says that it may be what crashes the process, and crashes bear it out."""
        begun, ended = (iso_seconds(run[name]) for name in ("started_at", "ended_at"))
        met = sum(begun <= crash <= ended for crash in self.crashes)
        return met >= MAX_CRASHES and run["run_log"]["error"] == CRASHED

    async def batch(self, batch_id: str, accepted: AcceptedBatch) -> list[str]:
        """An accepted batch has answered each of its lines once."""
        headers = accepted.owner.headers
        answer = await self.client.get(f"/v1/batches/{batch_id}", headers=headers)
        if answer.status_code != 200:
            return [f"batch {batch_id} is lost: {answer.status_code}"]
        batch = answer.json()
        if batch["status"] != "completed":
            return [f"batch {batch_id} stands at {batch['status']}: {batch['errors']}"]
        ids: list[str] = []
        for name in ("output_file_id", "error_file_id"):
            content = await self.client.get(f"/v1/files/{batch[name]}/content", headers=headers)
            ids += [msgspec.json.decode(line)["custom_id"] for line in content.content.splitlines()]
        if sorted(ids) != sorted(accepted.line_ids):
            return [f"batch {batch_id} answered {sorted(ids)}"]
        return []

    async def kept(self, url: str, data: bytes) -> list[str]:
        """Uploaded bytes are as they came."""
        answer = await self.client.get(url)
        return [] if answer.content == data else [f"{url} is lost: {answer.status_code}"]

    async def picture(self, url: str, seed: int) -> list[str]:
        """An answered picture is there, whole, and of its seed."""
        answer = await self.client.get(url)
        if answer.status_code != 200:
            return [f"the picture {url} is lost: {answer.status_code}"]
        return [] if shows(answer.content, seed) else [f"{url} is not of seed {seed}"]

    async def places(self, owner: Owner) -> list[str]:
        """A key may draw as many pictures as ever: no place is held by what has ended.

        What a killed front held it holds for some seconds, for the others.
        """
        body = {"prompt": "a cat", "n": LIMITED_SAMPLES}  # of whatever model is served
        deadline = max(self.crashes, default=0.0) + HELD_SECONDS + LEEWAY_SECONDS
        while True:
            is_over = time.time() > deadline
            answer = await self.client.post(
                "/v1/images/generations", json=body, headers=owner.headers
            )
            if answer.is_success:
                return []
            if is_over:
                return [f"a place is leaked: {answer.text[:200]}"]
            await asyncio.sleep(0.5)


def honest_events(receivers: Sequence[Receiver]) -> sa.ColumnElement[bool]:
    """The webhook events that these receivers are to be told; there may be hostile ones."""
    runs, urls = schema.runs, [receiver.url for receiver in receivers]
    told = sa.select(runs.c.id).where(runs.c.webhook.in_(urls))
    return schema.webhook_events.c.run_id.in_(told)


def told_faults(receivers: Sequence[Receiver], engine: sa.Engine) -> list[str]:
    """Every event has come, signed, in order, and a second time only right after itself."""
    table = schema.webhook_events
    query = sa.select(table.c.run_id, table.c.id).where(honest_events(receivers))
    query = query.order_by(table.c.run_id, table.c.sequence)
    written: dict[str, list[str]] = defaultdict(list)
    with engine.connect() as connection:
        for run_id, event_id in connection.execute(
            query.order_by(table.c.run_id, table.c.sequence)
        ):
            written[run_id].append(event_id)
        ended = connection.execute(sa.select(schema.runs.c.id, schema.runs.c.status))
        ends = {row.id: row.status for row in ended}
    taken: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for receiver in receivers:
        for event_id, body in receiver.taken:
            if [event_id] != [known for known, _ in taken[body["run_id"]][-1:]]:
                taken[body["run_id"]].append((event_id, body["status"]))
    faults = [refused for receiver in receivers for refused in receiver.refused]
    for run_id in written.keys() | taken.keys():
        came = taken[run_id]
        if [event_id for event_id, _ in came] != written[run_id]:
            faults.append(f"webhooks of {run_id}: {len(written[run_id])} written, came {came}")
        elif [status for _, status in came if status in ENDED] != [came[-1][1]]:
            faults.append(f"webhooks of {run_id} told its end early or twice: {came}")
        elif ends.get(run_id) != came[-1][1]:
            faults.append(f"webhooks of {run_id}, now {ends.get(run_id)}, told {came[-1][1]}")
    return faults


def database_faults(receivers: Sequence[Receiver], engine: sa.Engine) -> list[str]:
    """The tables agree with each other, and nothing is left over in them."""
    runs, outputs, events = schema.runs, schema.outputs, schema.webhook_events
    known = sa.select(runs.c.id)
    lines = sa.select(sa.func.count()).where(schema.batch_answers.c.batch_id == schema.batches.c.id)
    counts: dict[str, sa.Select[Any]] = {
        "runs have not ended": _count(runs, runs.c.status.not_in(ENDED)),
        "ended runs have no time of their end": _count(
            runs, runs.c.status.in_(ENDED), runs.c.ended_at.is_(None)
        ),
        "places are held": _count(schema.places),
        "outputs have no run": _count(outputs, outputs.c.run_id.not_in(known)),
        "events have no run": _count(events, events.c.run_id.not_in(known)),
        "events are not delivered": _count(
            events, events.c.state != "delivered", honest_events(receivers)
        ),
        "batches have not ended": _count(
            schema.batches, schema.batches.c.status.in_(("validating", "in_progress", "finalizing"))
        ),
        "batches have lines without an answer": _count(
            schema.batches,
            schema.batches.c.status == "completed",
            lines.scalar_subquery() == 0,
        ),
    }
    with engine.connect() as connection:
        faults = [
            f"{count} {what}"
            for what, query in counts.items()
            if (count := connection.execute(query).scalar_one())
        ]
        doubled = sa.select(outputs.c.run_id).group_by(outputs.c.run_id)
        doubled = doubled.having(sa.func.count() > 1)
        faults += [f"run {id} has two outputs" for id in connection.execute(doubled).scalars()]
        if engine.dialect.name == "sqlite":
            healthy = connection.exec_driver_sql("PRAGMA integrity_check").scalar()
            faults += [] if healthy == "ok" else [f"the database is damaged: {healthy}"]
        faults += workflow_faults(receivers, connection)
    return faults


def workflow_faults(receivers: Sequence[Receiver], connection: sa.Connection) -> list[str]:
    """Every workflow has come to its end, and none by an error before its work was done.

    Where that was done, only the note of the workflow's own end was lost.
    """
    names = ("workflow_uuid", "name", "status")
    columns: list[sa.ColumnClause[str]] = [sa.column(name) for name in names]
    is_server = connection.dialect.name == "postgresql"
    table = sa.table("workflow_status", *columns, schema="dbos" if is_server else None)
    hostile = sa.select(schema.webhook_events.c.id).where(~honest_events(receivers))
    events, runs = schema.webhook_events, schema.runs
    done = sa.union(
        sa.select(runs.c.id).where(runs.c.status.in_(ENDED)),
        sa.select(events.c.id).where(events.c.state.not_in(UNDELIVERED)),
    )
    query = sa.select(table.c.name, table.c.status, sa.func.count()).where(
        table.c.status != "SUCCESS",
        table.c.workflow_uuid.not_in(hostile),
        ~((table.c.status == "ERROR") & table.c.workflow_uuid.in_(done)),
    )
    counted = connection.execute(query.group_by(table.c.name, table.c.status))
    return [f"{count} workflows {name} are {status}" for name, status, count in counted]


def _count(table: sa.Table, *conditions: sa.ColumnElement[bool]) -> sa.Select[Any]:
    return sa.select(sa.func.count()).select_from(table).where(*conditions)


def iso_seconds(text: str | None) -> float:
    """A time of the API in seconds since the epoch."""
    return datetime.fromisoformat(text).timestamp() if text else 0.0
