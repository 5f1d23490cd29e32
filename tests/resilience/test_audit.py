"""An audit that finds nothing can find something: every promise is broken once by hand."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy as sa

from gateway.runs.durable.schema import batches, outputs, places, runs, webhook_events
from tests.resilience.audit import audit
from tests.resilience.house import House, tormented
from tests.resilience.ledger import AcceptedBatch, AcceptedRun
from tests.resilience.load import Asker

Break = Callable[[House, str], None]
"""Breaks a promise that was given for a run."""


def _execute(statement: Callable[[str], sa.Executable]) -> Break:
    def break_(house: House, run_id: str) -> None:
        with house.engine.begin() as connection:
            connection.execute(statement(run_id))

    return break_


def _update(**values: Any) -> Break:
    return _execute(lambda run_id: sa.update(runs).where(runs.c.id == run_id).values(values))


def _place(run_id: str) -> sa.Executable:
    values = {"run_id": run_id, "owner": "o", "subject": "s", "num_samples": 1, "waits": False}
    return sa.insert(places).values(values)


def _webhook_again(house: House, run_id: str) -> None:
    for receiver in house.receivers:
        receiver.taken += [one for one in receiver.taken if one[1]["run_id"] == run_id][:1]


def _webhook_lost(house: House, run_id: str) -> None:
    for receiver in house.receivers:
        receiver.taken[:] = [one for one in receiver.taken if one[1]["run_id"] != run_id]


def _unknown(house: House, run_id: str) -> None:
    ledger = house.load.ledger
    owner = ledger.runs[run_id].owner
    ledger.runs["unknown"] = AcceptedRun(owner, 1)
    ledger.batches["unknown"] = AcceptedBatch(owner, ())


def _wrong_seed(house: House, run_id: str) -> None:
    known = house.load.ledger.runs
    known[run_id] = replace(known[run_id], seed=known[run_id].seed + 1)


def _line_more(house: House, _run_id: str) -> None:
    known = house.load.ledger.batches
    batch_id, batch = next(iter(known.items()))
    known[batch_id] = replace(batch, line_ids=(*batch.line_ids, "more"))


def _bytes_changed(house: House, _run_id: str) -> None:
    kept, pictures = house.load.ledger.kept, house.load.ledger.pictures
    kept[next(iter(kept))] = b"others"
    pictures[next(iter(pictures))] += 1


BREAKS: dict[str, Break] = {
    "[('msg_{id}_1', 'queued'), ('msg_{id}_2', 'started')": _webhook_again,
    "webhooks of {id}": _webhook_lost,
    "run {id} has 1 pictures of 1": _wrong_seed,
    "run {id} has 0 pictures of 0": _execute(
        lambda run_id: sa.delete(outputs).where(outputs.c.run_id == run_id)
    ),
    "run {id} ended as failed": _update(status="failed"),
    "run {id} ended as started": _update(status="started"),
    "1 runs have not ended": lambda _house, _run_id: None,
    "1 ended runs have no time of their end": _update(ended_at=None),
    "1 places are held": _execute(_place),
    "1 events are not delivered": _execute(
        lambda run_id: (
            sa.update(webhook_events)
            .where(webhook_events.c.id == f"msg_{run_id}_1")
            .values(state="retrying")
        )
    ),
    "run {id} is lost: 404": _execute(lambda run_id: sa.delete(runs).where(runs.c.id == run_id)),
    "1 outputs have no run": lambda _house, _run_id: None,
    "run unknown is lost": _unknown,
    "batch unknown is lost": lambda _house, _run_id: None,
    "answered [": _line_more,
    "is not of seed": _bytes_changed,
    "is lost: 200": lambda _house, _run_id: None,
    "batches have not ended": _execute(
        lambda _run_id: sa.update(batches).values(status="finalizing")
    ),
}


async def test_every_broken_promise_is_noticed(tmp_path: Path) -> None:
    async with tormented(tmp_path) as house:
        (process,) = house.processes
        await asyncio.to_thread(process.begin)
        await _asked_for_everything(house)
        assert await house.faults() == []
        told = list(house.load.ledger.runs)
        for break_, run_id in zip(BREAKS.values(), told, strict=True):
            break_(house, run_id)
        found = await audit(process.url, house.load, house.receivers, house.engine)
        texts = [text.format(id=run_id) for text, run_id in zip(BREAKS, told, strict=True)]
        assert [text for text in texts if not any(text in fault for fault in found)] == [], found


async def _asked_for_everything(house: House) -> None:
    """A run for each promise that is to be broken, and one thing of each other kind."""
    owner, url = house.load.owners[0], house.processes[0].url
    async with httpx.AsyncClient(timeout=60) as client:
        asker = Asker(client, house.load.ledger)
        seeds = iter(range(1, 100))
        await asyncio.gather(*(asker.queued_run(url, owner, next(seeds)) for _ in BREAKS))
        for ask in (asker.upload, asker.picture, asker.streamed_picture, asker.batch):
            await ask(url, owner, next(seeds))
