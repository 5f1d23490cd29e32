"""Requests from inside: a batch's line, answered by the application like any client's."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec
from litestar.types import ASGIApp

from gateway.runs.batches.records import Answer, Batch, Line, Spent
from gateway.runs.batches.working import Ask
from gateway.telemetry.traces import LINKED_TO
from gateway.web.door.auth import BATCH_OWNER

IN_LINE = {"response_format": "b64_json"}
"""Unless a line says otherwise: URLs may have expired when its answer is read."""

NOT_IN_LINE = ("timeout", "timeout_seconds")
"""Nobody waits for a line; one that could not be in time would be asked again for a day."""

PIECE_BYTES = 2**18
"""Of a line's request, read at once."""


def ask_inside(app: ASGIApp) -> Ask:
    """A function that puts a batch's line to the application.

    Requests and answers go in pieces: there may be ten pictures in them, and clients besides.
    """

    async def ask(batch: Batch, line: Line) -> Answer:
        body: list[bytes] = []
        state: dict[str, Any] = {BATCH_OWNER: batch.owner, LINKED_TO: batch.trace}

        async def owned(scope: Any, receive: Any, send: Any) -> None:
            async def keeping(message: Any) -> None:
                if message["type"] == "http.response.body":
                    body.append(message.get("body", b""))
                    message = message | {"body": b""}
                await send(message)

            scope["state"] = state
            await app(scope, receive, keeping)

        base = urlsplit(batch.base_url)
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(owned),
            base_url=f"{base.scheme}://{base.netloc}",
            headers={"x-forwarded-prefix": base.path},
            timeout=None,
        ) as client:
            answer = await client.post(
                batch.endpoint,
                content=_pieces(msgspec.json.encode(_asked(line))),
                headers={"content-type": "application/json"},
            )
        retry_after = answer.headers.get("retry-after")
        return Answer(
            answer.status_code,
            answer.headers["x-request-id"],
            tuple(body),
            float(retry_after) if retry_after else None,
            _spent(state.get("facts", {})),
        )

    return ask


async def _pieces(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), PIECE_BYTES):
        yield data[start : start + PIECE_BYTES]
        await asyncio.sleep(0)


def _spent(facts: dict[str, Any]) -> Spent:
    """What an answer's dialect noted that it took."""
    return Spent(facts.get("tokens_read", 0), facts.get("tokens_made", 0))


def _asked(line: Line) -> dict[str, Any]:
    kept = {name: value for name, value in line.body.items() if name not in NOT_IN_LINE}
    return IN_LINE | kept
