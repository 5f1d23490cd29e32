"""Working through a batch: its lines answered, its files written, its end told.

Doing it again after a crash goes on where it was left: an answer is kept in the store before
it is written down, and lines that are written down are not asked again. Outages are waited
out where they are met. A line that was being answered at several crashes is not asked again.
"""

import asyncio
import secrets
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import msgspec
import structlog

from gateway.outages import patiently
from gateway.runs.batches.lines import read_lines
from gateway.runs.batches.records import (
    FILE_PREFIX,
    Answer,
    Batch,
    Fault,
    KeptFile,
    Line,
    Spent,
)
from gateway.runs.batches.store import BatchStore
from gateway.runs.durable.claims import CRASHED, MAX_CRASHES, Claim
from gateway.runs.durable.ground import Ground
from gateway.runs.library.files import FileStore
from gateway.runs.library.quota import Quota

log = structlog.get_logger()
Ask = Callable[[Batch, Line], Awaitable[Answer]]
"""Answers a line as if its owner had sent it by itself, after everyone who waits."""

LINES_AT_ONCE = 16
"""Of all batches of a process: enough to fill forwards, too few to fill the engine's door."""

WHOLE_BYTES = 2**20
GAP = secrets.token_hex(16).encode()
"""Stands where the answer to a line will be."""

TRY_AGAIN = (429, 503, 507)
MAX_WAIT_SECONDS = 10.0
LOOK_SECONDS = 2.0
"""How often a batch is looked up, should another process have been told to cancel it."""

EXPIRED = "This request could not be executed before the completion window expired."
CANCELLED = "This request was not executed because its batch was cancelled."


class Superseded(Exception):
    """Another process works through the batch."""


class BatchWork:
    """Works through batches, several at a time."""

    def __init__(
        self, store: BatchStore, files: FileStore, quota: Quota, ground: Ground, ask: Ask
    ) -> None:
        self.store = store
        self.files = files
        self.quota = quota
        self.ground = ground
        self._ask = ask
        self._to_claim: set[str] = set()
        self._claiming = asyncio.Lock()
        self._places = asyncio.Semaphore(LINES_AT_ONCE)
        self._cancelled: dict[str, asyncio.Event] = {}

    async def work_through(self, batch_id: str) -> None:
        """Bring a batch to its end; returns when it is there, or others work on it."""
        batch = await self.ground.patiently(self.store.get, batch_id)
        if batch is None:
            return
        if not batch.has_ended and not await self._bring_to_its_end(batch):
            return
        await patiently(lambda: self.files.delete(batch.folder), "store")
        await self.ground.patiently(self.ground.claims.forget, batch.id)

    async def _bring_to_its_end(self, batch: Batch) -> bool:
        """Work through a batch; False where another process does."""
        claim = await self.ground.patiently(self.ground.claims.take, batch.id)
        try:
            await self._work_through(batch, claim)
        except Superseded:
            return False
        except Exception as error:
            log.error("batch failed", batch_id=batch.id, exc_info=error)
            fault = Fault("internal_error", "The gateway had an error with this batch.")
            await self._change(batch, status="failed", failed_at=time.time(), faults=(fault,))
        return True

    async def _work_through(self, batch: Batch, claim: Claim) -> None:
        lines, faults = await self._lines(batch)
        if batch.status == "validating" and not faults:
            faults = await self.ground.patiently(self.store.crowding, batch, len(lines))
        if faults:
            await self._change(batch, status="failed", failed_at=time.time(), faults=tuple(faults))
            return
        if batch.status == "validating":
            await self._change(
                batch,
                unless=("cancelling",),
                status="in_progress",
                in_progress_at=time.time(),
                num_lines=len(lines),
                model=_model_of(lines),
            )
        reason = await self._answer_all(batch, lines, claim)
        await self._finish(batch, lines, reason)

    def cancel(self, batch_id: str) -> None:
        """Stop a batch's lines at their next step, if they are answered here."""
        if event := self._cancelled.get(batch_id):
            event.set()

    async def _change(self, batch: Batch, **values: Any) -> Batch | None:
        return await self.ground.patiently(self.store.change, batch.id, **values)

    async def _lines(self, batch: Batch) -> tuple[list[Line], list[Fault]]:
        data = await patiently(lambda: self._input(batch), "store")
        if data is None:
            return [], [Fault("input_file_gone", "The input file has been deleted.")]
        return await self.ground.in_thread(read_lines, data, batch.endpoint)

    async def _input(self, batch: Batch) -> bytes | None:
        """The input file, copied to where deleting it leaves it."""
        data = await self.files.get(batch.input_key)
        if data is not None:
            return data
        file = await self.ground.ask(self.store.file, batch.input_file_id, batch.owner)
        data = await self.files.get(file.key) if file else None
        if data is not None:
            await self.files.put(batch.input_key, data)
        return data

    async def _answer_all(self, batch: Batch, lines: list[Line], claim: Claim) -> str:
        """Answer what is not answered yet; why it ended: completed, cancelled or expired.

        Raises:
            Superseded: another process works through the batch now.
        """
        answered = await self.ground.patiently(self.store.answered, batch.id)
        crashes = await self.ground.patiently(
            self.ground.claims.crashes_under, batch.line_subject("")
        )
        left = ((number, line) for number, line in enumerate(lines) if number not in answered)
        event = self._cancelled[batch.id] = asyncio.Event()
        cancelling = asyncio.create_task(self._until_cancelled(batch, claim, event))
        working = asyncio.gather(*(self._work(batch, left, crashes) for _ in range(LINES_AT_ONCE)))
        try:
            ends: set[asyncio.Future[Any]] = {cancelling, working}
            window = batch.expires_at - batch.created_at
            seconds = self.ground.calendar.seconds_left(batch.created_at, window)
            await asyncio.wait(ends, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if cancelling.done():
                cancelling.result()
                return "cancelled"
            if working.done():
                working.result()
                return "completed"
            return "expired"
        finally:
            del self._cancelled[batch.id]
            cancelling.cancel()
            working.cancel()
            with suppress(asyncio.CancelledError):
                await working

    async def _work(
        self, batch: Batch, left: Iterator[tuple[int, Line]], crashes: dict[str, int]
    ) -> None:
        for number, line in left:
            num_crashes = crashes.get(batch.line_subject(number), 0)
            if num_crashes >= MAX_CRASHES:
                failed, entry = True, [_unanswered(batch, number, line, "crashed", CRASHED)]
                spent = Spent()
            else:
                async with self.ground.beside_others(num_crashes):
                    answer = await self._answer(batch, number, line)
                failed, entry = answer.status >= 400, _answered(batch, number, line, answer)
                spent = answer.spent
            key = batch.answer_key(number, failed=failed)
            await self._keep(key, entry)
            await self.ground.patiently(
                self.store.note_answer, batch, number, spent, failed=failed
            )

    async def _keep(self, key: str, entry: list[bytes]) -> None:
        await patiently(lambda: self.files.put(key, _kept(entry)), "store")

    async def _answer(self, batch: Batch, number: int, line: Line) -> Answer:
        """The answer to a line, asked again for as long as there is no room for it.

        It waits without a place: a key at its limit must not hold up the others' batches.
        """
        while True:
            async with self._places:
                await self._claim(batch.line_subject(number))
                answer = await self._ask(batch, line)
            if answer.status not in TRY_AGAIN:
                return answer
            await asyncio.sleep(min(MAX_WAIT_SECONDS, answer.retry_after_seconds or 1.0))

    async def _claim(self, subject: str) -> None:
        """Claim a line; those that come at once are written down at once."""
        self._to_claim.add(subject)
        try:
            await asyncio.sleep(0)
            async with self._claiming:
                if subject in self._to_claim:
                    together = set(self._to_claim)
                    await self.ground.patiently(self.ground.claims.take_all, together)
                    self._to_claim -= together
        finally:
            self._to_claim.discard(subject)  # a line that is cancelled must not be claimed later

    async def _until_cancelled(self, batch: Batch, claim: Claim, event: asyncio.Event) -> None:
        while not event.is_set():
            found = await self.ground.patiently(self.store.get, batch.id)
            if found is None or found.status == "cancelling":
                return
            if await self.ground.patiently(self.ground.claims.lost, [claim]):
                raise Superseded
            with suppress(TimeoutError):
                await asyncio.wait_for(event.wait(), LOOK_SECONDS)

    async def _finish(self, batch: Batch, lines: list[Line], reason: str) -> None:
        """Write the output and error files, then the end."""
        if reason == "completed":
            await self._change(batch, status="finalizing", finalizing_at=time.time())
        answered = await self.ground.patiently(self.store.answered, batch.id)
        completed = [number for number, failed in answered.items() if not failed]
        failed = [number for number, failed in answered.items() if failed]
        unasked = [number for number in range(len(lines)) if number not in answered]
        code, why = (
            ("batch_expired", EXPIRED)
            if reason == "expired"
            else (
                "batch_cancelled",
                CANCELLED,
            )
        )
        refusals = [_unanswered(batch, number, lines[number], code, why) for number in unasked]
        output = await self._write(batch, "output", completed, [], failed=False)
        errors = await self._write(batch, "error", failed, refusals, failed=True)
        await self._change(
            batch,
            status=reason,
            **{f"{reason}_at": time.time()},
            num_lines=len(lines),
            num_completed=len(completed),
            num_failed=len(failed) + (len(unasked) if reason == "expired" else 0),
            output_file_id=output,
            error_file_id=errors,
            spent=await self.ground.patiently(self.store.spent, batch.id),
        )

    async def _write(
        self, batch: Batch, kind: str, numbers: list[int], more: list[bytes], *, failed: bool
    ) -> str | None:
        """Join answers into a file; its id, None where there are none."""
        if not numbers and not more:
            return None
        # A name that writing it again after a crash repeats.
        mark = uuid.uuid5(uuid.NAMESPACE_OID, f"{batch.id}/{kind}").hex
        now = time.time()
        file = KeptFile(
            id=FILE_PREFIX + mark[:24],
            owner=batch.owner,
            name=f"{batch.id}_{kind}.jsonl",
            purpose="batch_output",
            size_bytes=0,
            created_at=now,
            expires_at=None if batch.kept_seconds is None else now + batch.kept_seconds,
        )

        async def join() -> int:
            """Write the file; its size in bytes."""
            sizes = []

            async def joined() -> AsyncIterator[bytes]:
                async for part in self._parts(batch, numbers, more, failed=failed):
                    sizes.append(len(part))
                    yield part

            await self.files.put(file.key, joined())
            return sum(sizes)

        size_bytes = await patiently(join, "store")
        # What was drawn is never refused, but it counts.
        settle = partial(self.quota.settle, batch.owner, file.key, size_bytes)
        await patiently(settle, "database")
        kept = msgspec.structs.replace(file, size_bytes=size_bytes)
        await self.ground.patiently(self.store.add_file, kept)
        return file.id

    async def _parts(
        self, batch: Batch, numbers: Iterable[int], more: list[bytes], *, failed: bool
    ) -> AsyncIterator[bytes]:
        for number in numbers:
            stored = await self.files.open(batch.answer_key(number, failed=failed))
            if stored is not None:
                async for piece in stored.pieces():
                    yield piece
        for part in more:
            yield part


def _model_of(lines: Iterable[Line]) -> str | None:
    """The model that all of the lines name, None where there is no such."""
    names = {str(line.body.get("model") or "") for line in lines}
    return names.pop() or None if len(names) == 1 else None


def _kept(entry: list[bytes]) -> bytes | AsyncIterator[bytes]:
    """An entry as the store takes it: large ones, which have pictures in them, piece by piece."""

    async def each() -> AsyncIterator[bytes]:
        for piece in entry:
            yield piece

    return b"".join(entry) if sum(map(len, entry)) <= WHOLE_BYTES else each()


def _answered(batch: Batch, number: int, line: Line, answer: Answer) -> list[bytes]:
    response = {
        "status_code": answer.status,
        "request_id": answer.request_id,
        "body": msgspec.Raw(GAP),
    }
    before, after = _entry(batch, number, line, response=response, error=None).split(GAP)
    return [before, *answer.body, after]


def _unanswered(batch: Batch, number: int, line: Line, code: str, message: str) -> bytes:
    return _entry(batch, number, line, response=None, error={"code": code, "message": message})


def _entry(batch: Batch, number: int, line: Line, **outcome: Any) -> bytes:
    mark = uuid.uuid5(uuid.NAMESPACE_OID, f"{batch.id}/{number}").hex
    entry = {"id": f"batch_req_{mark[:24]}", "custom_id": line.id, **outcome}
    return msgspec.json.encode(entry) + b"\n"
