"""Small requests that mean much, while another client draws: how long it is held up by them."""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.facts import resident_mib
from tests.resilience.bystander import PICTURE, bystanding
from tests.resilience.corpus import requests
from tests.resilience.hostile import Hostile
from tests.resilience.house import tormented
from tests.resilience.ledger import Owner, new_owner
from tests.resilience.row import Row
from tests.runs.heartbeat import beats
from tests.runs.server import Process

AT_ONCE = 4
CALM_SECONDS = 8.0
HELD_SECONDS = 0.1
"""That a picture may be held up, beside one forward."""

LOOP_SECONDS = 0.05
"""That the event loop may be held by its own work."""

GROWTH_MIB = 1024


async def small_requests(folder: Path, engine: str = "emoji", *, slack: float = 1.0) -> Row:
    """Send the corpus; `slack` multiplies what is allowed, for machines that are busy."""
    beating = folder / "beats.jsonl"
    environment = {"ENGINE": engine, "HEARTBEAT": str(beating), "GATEWAY_THREADS": "1"}
    process, model = Process(folder / "data", environment=environment), engine or "tiny"
    async with tormented(folder, processes=[process]) as house:
        await asyncio.to_thread(process.begin)
        ann, bob = house.load.owners
        olive, _ = new_owner(process.data, "olive", operator=True)
        corpus = [*requests(model)]
        attack = Attack(process.url, ann)
        async with bystanding(process.url, bob.secret, model) as sights:
            await asyncio.sleep(CALM_SECONDS)
            before, attacked = resident_mib(process.pid), time.monotonic()
            await attack.send(corpus)
            most, forward = resident_mib(process.pid), await _forward_seconds(process.url, olive)
        await attack.withdraw()
        faults = [*sights.faults, *attack.faults, *await house.faults()]
    calm = sights.seconds(PICTURE, until=attacked)
    held = sights.seconds(PICTURE, since=attacked) - calm
    late = beats(beating, attacked)
    busiest = max((beat.busy_seconds for beat in late), default=0.0)
    latest = max((beat.late_seconds for beat in late), default=0.0)
    if held > slack * (forward + HELD_SECONDS):
        faults.append(f"a picture was held up for {held:.2f} s")
    if busiest > slack * LOOP_SECONDS:
        faults.append(f"the event loop was held for {1e3 * busiest:.0f} ms")
    if most - before > GROWTH_MIB:
        faults.append(f"memory grew by {most - before:.0f} MiB")
    answers = ", ".join(f"{count} × {status}" for status, count in sorted(attack.statuses.items()))
    return Row(
        f"{len(corpus)} small requests that mean much, {AT_ONCE} at once, beside a client of "
        f"{model}",
        f"nobody's picture is held up beyond a forward and {slack * 1e3 * HELD_SECONDS:g} ms, nor "
        f"the event loop held for {slack * 1e3 * LOOP_SECONDS:g} ms of its own work; no 5xx",
        f"answers {answers}; pictures within {calm:.2f} s before, {calm + held:.2f} s meanwhile "
        f"(held up {max(0.0, held):.2f} s; a forward: {forward:.3f} s); the loop held "
        f"{1e3 * busiest:.0f} ms by its own work, {1e3 * latest:.0f} ms by the wall clock; memory "
        f"{before:.0f} → {most:.0f} MiB",
        tuple(faults),
    )


class Attack:
    """One key's hostile requests, and what came of them."""

    def __init__(self, url: str, owner: Owner) -> None:
        self.statuses: Counter[int] = Counter()
        self.faults: list[str] = []
        self._runs: list[str] = []
        self._batches: list[str] = []
        self._client = httpx.AsyncClient(base_url=url, headers=owner.headers, timeout=120)

    async def send(self, corpus: Sequence[Hostile]) -> None:
        """Send everything, some at once."""
        gate = asyncio.Semaphore(AT_ONCE)

        async def send(one: Hostile) -> None:
            async with gate:
                await self._send(one)

        await asyncio.gather(*map(send, corpus))

    async def withdraw(self) -> None:
        """Cancel what was accepted, and ask for nothing more."""
        for run_id in self._runs:
            (await self._client.post(f"/api/run/{run_id}/cancel")).raise_for_status()
        for batch_id in self._batches:
            await self._client.post(f"/v1/batches/{batch_id}/cancel")
        await self._client.aclose()

    async def _send(self, one: Hostile) -> None:
        with suppress(httpx.TransportError):  # a connection may be closed on a body too large
            answer = await self._client.request(
                one.method, one.path, content=one.body, headers=one.headers
            )
            self.statuses[answer.status_code] += 1
            if answer.status_code >= 500:
                self.faults.append(f"{answer.status_code} to {one.name}")
            if answer.is_success and one.path == "/api/run":
                made = answer.json()
                self._runs += made.get("run_ids", [made["run_id"]])
            if answer.is_success and one.path == "/v1/files":
                await self._begin(answer.json()["id"])

    async def _begin(self, file_id: str) -> None:
        asked = {"input_file_id": file_id, "endpoint": "/v1/images/edits"}
        asked["completion_window"] = "24h"
        answer = await self._client.post("/v1/batches", json=asked)
        self._batches.append(answer.raise_for_status().json()["id"])


async def _forward_seconds(url: str, operator: Owner) -> float:
    """The mean of a denoiser's forwards, as the metrics tell it; 0 where there were none."""
    async with httpx.AsyncClient(timeout=60, headers=operator.headers) as client:
        text = (await client.get(f"{url}/metrics")).raise_for_status().text
    totals: defaultdict[str, float] = defaultdict(float)
    for family in text_string_to_metric_families(text):
        if family.name == "gateway_step_seconds":
            for sample in family.samples:
                totals[sample.name.rpartition("_")[2]] += sample.value
    return totals["sum"] / totals["count"] if totals["count"] else 0.0
