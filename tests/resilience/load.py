"""Clients of every kind at once, who write down what they were promised."""

import asyncio
import base64
import itertools
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from io import BytesIO
from typing import Any

import httpx
import msgspec
from PIL import Image

from tests.resilience.ledger import AcceptedBatch, AcceptedRun, Ledger, Owner

UNAVAILABLE = 503
BUSY = (429, UNAVAILABLE)
FULL = 507
"""Nobody knows when there will be room."""

LIMITED_SAMPLES = 4
"""That the second of two keys may draw at once, and each should be able to."""

LINES = 5
"""Of each batch of the Batch API; the last of them cannot be drawn."""

PATIENCE_SECONDS = 60.0
PAUSE_SECONDS = (0.05, 0.5)
NOBODY_SECONDS = 0.2
"""Before a client that met nobody asks again."""


class Load:
    """Clients that ask for everything there is, one thing after another, until the block ends.

    Where an answer breaks off, nothing more was promised than had come by then.
    """

    def __init__(self, urls: Sequence[str], owners: Sequence[Owner], chance: random.Random) -> None:
        self.ledger = Ledger()
        self.pause_seconds = PAUSE_SECONDS
        self.patience_seconds = PATIENCE_SECONDS
        self._urls = urls
        self.owners = owners
        self._chance = chance
        self._seeds = itertools.count(1)

    @asynccontextmanager
    async def running(self, num_clients: int = 6) -> AsyncIterator[Ledger]:
        """Ask for as long as the block lasts; what is being asked at its end is waited for."""
        stopped = asyncio.Event()
        tasks = [asyncio.create_task(self._client(stopped)) for _ in range(num_clients)]
        try:
            yield self.ledger
        finally:
            stopped.set()
            await self._farewell(tasks)

    async def _farewell(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        """Let everybody have the answer that they wait for, if one comes."""
        done, hanging = await asyncio.wait(tasks, timeout=self.patience_seconds)
        for task in hanging:
            self.ledger.faults.append(f"a client still waits after {self.patience_seconds:g} s")
            task.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)
        for task in done:
            task.result()

    async def _client(self, stopped: asyncio.Event) -> None:
        async with httpx.AsyncClient(timeout=self.patience_seconds) as client:
            asker = Asker(client, self.ledger)
            kinds: list[tuple[Callable[[str, Owner, int], Awaitable[None]], int]] = [
                (asker.picture, 4),
                (asker.streamed_picture, 2),
                (asker.queued_run, 6),
                (asker.sync_run, 3),
                (asker.streamed_run, 2),
                (asker.batch_of_runs, 2),
                (asker.cancelled_run, 2),
                (asker.upload, 2),
                (asker.batch, 1),
            ]
            while not stopped.is_set():
                ((ask, _),) = self._chance.choices(kinds, [weight for _, weight in kinds])
                owner, url = self._chance.choice(self.owners), self._chance.choice(self._urls)
                try:
                    await ask(url, owner, next(self._seeds))
                except httpx.ConnectError:
                    await asyncio.sleep(NOBODY_SECONDS)
                except httpx.TransportError:
                    self.ledger.num_broken_off += 1
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._chance.uniform(*self.pause_seconds)):
                        await stopped.wait()


class Asker:
    """One client: each method asks for one thing and notes what came of it."""

    def __init__(self, client: httpx.AsyncClient, ledger: Ledger) -> None:
        self.client = client
        self.ledger = ledger

    async def picture(self, url: str, owner: Owner, seed: int) -> None:
        """A picture of the images API, by URL."""
        if answer := await self._post(f"{url}/v1/images/generations", owner, image_body(seed)):
            (item,) = answer.json()["data"]
            if "url" in item:  # a store that is full leaves the picture itself
                self.ledger.pictures[item["url"]] = seed
            self.ledger.answered["picture"] += 1

    async def streamed_picture(self, url: str, owner: Owner, seed: int) -> None:
        """A picture of the images API, streamed."""
        body, told = image_body(seed) | {"stream": True}, []
        async for data in self._events(f"{url}/v1/images/generations", owner, body):
            told.append(data["type"])
            if "b64_json" in data and not shows(base64.b64decode(data["b64_json"]), seed):
                self.ledger.faults.append(f"a streamed picture is not that of seed {seed}")
        if told not in ([], ["image_generation.completed"]):
            self.ledger.faults.append(f"a stream told {told}")
        self.ledger.answered["streamed picture"] += len(told)

    async def queued_run(self, url: str, owner: Owner, seed: int) -> None:
        """A run that tells its webhook."""
        body = run_body(seed) | {"webhook": owner.webhook, "webhook_intermediate_status": True}
        if answer := await self._post(f"{url}/api/run/queue", owner, body):
            self.ledger.runs[answer.json()["run_id"]] = AcceptedRun(owner, seed)
            self.ledger.answered["queued run"] += 1

    async def sync_run(self, url: str, owner: Owner, seed: int) -> None:
        """A run that is waited for."""
        body = run_body(seed) | {"webhook": owner.webhook}
        if answer := await self._post(f"{url}/api/run/sync", owner, body):
            (output,) = answer.json()
            self.ledger.runs[output["run_id"]] = AcceptedRun(owner, seed)
            self.ledger.answered["awaited run"] += 1

    async def streamed_run(self, url: str, owner: Owner, seed: int) -> None:
        """A run that is watched; an early line tells its id, the last one its end."""
        told = None
        async for data in self._events(f"{url}/api/run/stream", owner, run_body(seed)):
            told = data.get("event", told)
            if run_id := data.get("prompt_id"):
                self.ledger.runs[run_id] = AcceptedRun(owner, seed)
        if told not in (None, "status"):
            self.ledger.faults.append(f"a watched run's last event was {told}")
        self.ledger.answered["watched run"] += told is not None

    async def batch_of_runs(self, url: str, owner: Owner, seed: int) -> None:
        """Four runs, of which two may be drawn at once."""
        first = seed * 4 % 2**16
        body = run_body(first) | {"batch_number": 4, "concurrency_limit": 2}
        body["webhook"] = owner.webhook
        if answer := await self._post(f"{url}/api/run/queue", owner, body):
            for number, run_id in enumerate(answer.json()["run_ids"]):
                self.ledger.runs[run_id] = AcceptedRun(owner, first + number)
            self.ledger.answered["batch of four runs"] += 1

    async def cancelled_run(self, url: str, owner: Owner, seed: int) -> None:
        """A slow run that is cancelled on its way."""
        body = run_body(seed, "slow") | {"webhook": owner.webhook}
        if answer := await self._post(f"{url}/api/run/queue", owner, body):
            run_id = answer.json()["run_id"]
            self.ledger.runs[run_id] = AcceptedRun(owner, seed, may_be_cancelled=True)
            await asyncio.sleep(0.3 * (seed % 4) / 4)
            await self._post(f"{url}/api/run/{run_id}/cancel", owner, {})
            self.ledger.answered["cancelled run"] += 1

    async def upload(self, url: str, owner: Owner, seed: int) -> None:
        """A file to draw from."""
        data = f"the bytes of upload {seed}".encode() * 100
        file = {"file": (f"{seed}.bin", data)}
        answer = await self.client.post(f"{url}/api/file/upload", headers=owner.headers, files=file)
        if self._is_promise(answer):
            self.ledger.kept[answer.json()["file_url"]] = data
            self.ledger.answered["upload"] += 1

    async def batch(self, url: str, owner: Owner, seed: int) -> None:
        """A batch of the Batch API."""
        ids = tuple(f"{seed}-{number}" for number in range(LINES))
        bodies = [image_body(seed) for _ in ids[1:]] + [image_body(seed) | {"size": "1x1"}]
        lines = [
            {"custom_id": id, "method": "POST", "url": "/v1/images/generations", "body": body}
            for id, body in zip(ids, bodies, strict=True)
        ]
        data = b"\n".join(map(msgspec.json.encode, lines))
        file = await self.client.post(
            f"{url}/v1/files",
            headers=owner.headers,
            files={"file": ("lines.jsonl", data)},
            data={"purpose": "batch"},
        )
        if not self._is_promise(file):
            return
        wanted = {
            "input_file_id": file.json()["id"],
            "endpoint": "/v1/images/generations",
            "completion_window": "24h",
        }
        if answer := await self._post(f"{url}/v1/batches", owner, wanted):
            self.ledger.batches[answer.json()["id"]] = AcceptedBatch(owner, ids)
            self.ledger.answered["batch of five lines"] += 1

    async def _post(self, url: str, owner: Owner, body: dict[str, Any]) -> httpx.Response | None:
        answer = await self.client.post(url, headers=owner.headers, json=body)
        return answer if self._is_promise(answer) else None

    async def _events(
        self, url: str, owner: Owner, body: dict[str, Any]
    ) -> AsyncIterator[dict[str, Any]]:
        """The data of server-sent events, as objects."""
        async with self.client.stream("POST", url, headers=owner.headers, json=body) as answer:
            if answer.status_code != 200:
                await answer.aread()
            if not self._is_promise(answer):
                return
            async for line in answer.aiter_lines():
                if line.startswith("data: {"):
                    yield json.loads(line[6:])

    def _is_promise(self, answer: httpx.Response) -> bool:
        """Whether an answer says yes; anything but yes and "later" is a fault."""
        if answer.is_success:
            return True
        if answer.status_code == FULL or (
            answer.status_code in BUSY and "retry-after" in answer.headers
        ):
            self.ledger.num_refused += 1
            self.ledger.num_unavailable += answer.status_code == UNAVAILABLE
        else:
            told = f"{answer.status_code} to {answer.request.url.path}: {answer.text[:200]}"
            self.ledger.faults.append(told)
        return False


def image_body(seed: int) -> dict[str, Any]:
    """A request of the images API."""
    return {"model": "tiny", "prompt": "a cat", "seed": seed % 2**16}


def run_body(seed: int, prompt: str = "a cat") -> dict[str, Any]:
    """A request for a run of a model."""
    return {"model_id": "tiny", "inputs": {"prompt": prompt, "seed": seed}}


def shows(png: bytes, seed: int) -> bool:
    """Whether a picture has its seed's colour."""
    with Image.open(BytesIO(png)) as picture:
        return picture.getpixel((0, 0)) == (seed & 255, seed >> 8 & 255, 0)
