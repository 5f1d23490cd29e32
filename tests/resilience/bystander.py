"""A client who does nothing wrong, in a process of its own: how long it waits, and is it answered.

`python -m tests.resilience.bystander URL KEY MODEL` asks for a picture after another, each on
a new connection, and in between whether the gateway lives, until its standard input ends. It
prints a line of JSON for each answer.
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from math import inf

import httpx
import msgspec

PICTURE, LIVE = "picture", "live"
PAUSE_SECONDS = 0.02


class Sight(msgspec.Struct, frozen=True):
    """One answer: when it was asked for, in monotonic seconds, and how long it took."""

    kind: str
    at: float
    seconds: float
    fault: str | None = None


@dataclass
class Sights:
    """What a bystander saw."""

    seen: list[Sight] = field(default_factory=list)

    @property
    def faults(self) -> list[str]:
        """Requests that were not answered well."""
        return [f"a bystander's {one.kind}: {one.fault}" for one in self.seen if one.fault]

    def seconds(self, kind: str, since: float = 0.0, until: float = inf) -> float:
        """The longest that an answer took of those asked for between two times."""
        return max(
            (one.seconds for one in self.seen if one.kind == kind and since <= one.at < until),
            default=0.0,
        )

    def count(self, kind: str) -> int:
        """How many were answered."""
        return sum(one.kind == kind and not one.fault for one in self.seen)


@asynccontextmanager
async def bystanding(url: str, secret: str, model: str) -> AsyncIterator[Sights]:
    """A bystander for as long as the block lasts; all that it saw is known at the end."""
    sights, pipe = Sights(), asyncio.subprocess.PIPE
    command = [sys.executable, "-m", "tests.resilience.bystander", url, secret, model]
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    assert process.stdin is not None
    assert process.stdout is not None
    # All the while: who cannot get rid of what it saw sees nothing more.
    listening = asyncio.create_task(_listen(process.stdout, sights))
    try:
        yield sights
    finally:
        process.stdin.close()
        await listening
        await process.wait()


async def _listen(told: asyncio.StreamReader, sights: Sights) -> None:
    async for line in told:
        sights.seen.append(msgspec.json.decode(line, type=Sight))


async def _watch(url: str, secret: str, model: str) -> None:
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(lines), sys.stdin
    )
    watching = asyncio.gather(_draw(url, secret, model), _look(url))
    await lines.read()
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching


async def _draw(url: str, secret: str, model: str) -> None:
    body = {"model": model, "prompt": "a cat", "num_inference_steps": 1, "seed": 7}
    headers = {"Authorization": f"Bearer {secret}", "Accept": "image/png"}
    while True:
        async with httpx.AsyncClient(timeout=60) as client:
            await _note(PICTURE, client, "POST", f"{url}/v1/images/generations", body, headers)
        await asyncio.sleep(PAUSE_SECONDS)


async def _look(url: str) -> None:
    async with httpx.AsyncClient(timeout=60) as client:
        while True:
            await _note(LIVE, client, "GET", f"{url}/health/live")
            await asyncio.sleep(PAUSE_SECONDS)


async def _note(
    kind: str,
    client: httpx.AsyncClient,
    method: str,
    url: str,
    body: object = None,
    headers: dict[str, str] | None = None,
) -> None:
    at, fault = time.monotonic(), None
    try:
        answer = await client.request(method, url, json=body, headers=headers)
        if not answer.is_success:
            fault = f"{answer.status_code}: {answer.text[:200]}"
    except httpx.TransportError as error:
        fault = repr(error)
    sight = {"kind": kind, "at": at, "seconds": time.monotonic() - at, "fault": fault}
    print(json.dumps(sight), flush=True)


if __name__ == "__main__":
    asyncio.run(_watch(*sys.argv[1:]))
