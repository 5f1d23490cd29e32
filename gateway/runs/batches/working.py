"""Working through a batch: its lines answered, its files written, its end told.

Doing it again after a crash goes on where it was left: an answer is kept in the store before
it is written down, and lines that are written down are not asked again.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from concurrent.futures import Executor
from contextlib import suppress
from typing import Any, TypeVar

import msgspec
import structlog

from gateway.runs.batches.lines import read_lines
from gateway.runs.batches.records import FILE_PREFIX, Answer, Batch, Fault, KeptFile, Line
from gateway.runs.batches.store import BatchStore
from gateway.runs.files import FileStore
from gateway.runs.quota import Quota

log = structlog.get_logger()
T = TypeVar("T")
Ask = Callable[[Batch, Line], Awaitable[Answer]]
"""Answers a line as if its owner had sent it by itself, after everyone who waits."""

LINES_AT_ONCE = 16
"""Of all batches of a process: enough to fill forwards, too few to fill the engine's door."""

TRY_AGAIN = (429, 503)
MAX_WAIT_SECONDS = 10.0
LOOK_SECONDS = 2.0
"""How often a batch is looked up, should another process have been told to cancel it."""

EXPIRED = "This request could not be executed before the completion window expired."
CANCELLED = "This request was not executed because its batch was cancelled."


class BatchWork:
    """Works through batches, several at a time."""

    def __init__(
        self, store: BatchStore, files: FileStore, quota: Quota, threads: Executor, ask: Ask
    ) -> None:
        self.store = store
        self.files = files
        self.quota = quota
        self._threads = threads
        self._ask = ask
        self._places = asyncio.Semaphore(LINES_AT_ONCE)
        self._cancelled: dict[str, asyncio.Event] = {}

    async def work_through(self, batch_id: str) -> None:
        """Bring a batch to its end; returns when it is there."""
        batch = await self.in_thread(self.store.get, batch_id)
        if batch is None or batch.has_ended:
            return
        try:
            await self._work_through(batch)
        except Exception as error:
            log.error("batch failed", batch_id=batch_id, exc_info=error)
            fault = Fault("internal_error", "The gateway had an error with this batch.")
            await self._change(batch, status="failed", failed_at=time.time(), faults=(fault,))
        await self.files.delete(batch.folder)

    async def _work_through(self, batch: Batch) -> None:
        lines, faults = await self._lines(batch)
        if batch.status == "validating" and not faults:
            faults = await self.in_thread(self.store.crowding, batch, len(lines))
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
            )
        reason = await self._answer_all(batch, lines)
        await self._finish(batch, lines, reason)

    def cancel(self, batch_id: str) -> None:
        """Stop a batch's lines at their next step, if they are answered here."""
        if event := self._cancelled.get(batch_id):
            event.set()

    async def in_thread(self, work: Callable[..., T], *arguments: Any, **named: Any) -> T:
        """Run what blocks on the database outside the event loop."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: work(*arguments, **named))

    async def _change(self, batch: Batch, **values: Any) -> Batch | None:
        return await self.in_thread(self.store.change, batch.id, **values)

    async def _lines(self, batch: Batch) -> tuple[list[Line], list[Fault]]:
        data = await self.files.get(batch.input_key)
        if data is None:
            file = await self.in_thread(self.store.file, batch.input_file_id, batch.owner)
            data = await self.files.get(file.key) if file else None
            if data is None:
                return [], [Fault("input_file_gone", "The input file has been deleted.")]
            await self.files.put(batch.input_key, data)
        return await self.in_thread(read_lines, data, batch.endpoint)

    async def _answer_all(self, batch: Batch, lines: list[Line]) -> str:
        """Answer what is not answered yet; why it ended: completed, cancelled or expired."""
        answered = await self.in_thread(self.store.answered, batch.id)
        left = ((number, line) for number, line in enumerate(lines) if number not in answered)
        event = self._cancelled[batch.id] = asyncio.Event()
        cancelling = asyncio.create_task(self._until_cancelled(batch, event))
        working = asyncio.gather(*(self._work(batch, left) for _ in range(LINES_AT_ONCE)))
        try:
            ends: set[asyncio.Future[Any]] = {cancelling, working}
            seconds = max(0.0, batch.expires_at - time.time())
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

    async def _work(self, batch: Batch, left: Iterator[tuple[int, Line]]) -> None:
        for number, line in left:
            answer = await self._answer(batch, line)
            failed = answer.status >= 400
            text = _answered(batch, number, line, answer)
            await self.files.put(batch.answer_key(number, failed=failed), text)
            await self.in_thread(self.store.note_answer, batch.id, number, failed=failed)

    async def _answer(self, batch: Batch, line: Line) -> Answer:
        """The answer to a line, asked again for as long as there is no room for it.

        It waits without a place: a key at its limit must not hold up the others' batches.
        """
        while True:
            async with self._places:
                answer = await self._ask(batch, line)
            if answer.status not in TRY_AGAIN:
                return answer
            await asyncio.sleep(min(MAX_WAIT_SECONDS, answer.retry_after_seconds or 1.0))

    async def _until_cancelled(self, batch: Batch, event: asyncio.Event) -> None:
        while not event.is_set():
            found = await self.in_thread(self.store.get, batch.id)
            if found is None or found.status == "cancelling":
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(event.wait(), LOOK_SECONDS)

    async def _finish(self, batch: Batch, lines: list[Line], reason: str) -> None:
        """Write the output and error files, then the end."""
        if reason == "completed":
            await self._change(batch, status="finalizing", finalizing_at=time.time())
        answered = await self.in_thread(self.store.answered, batch.id)
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
        )

    async def _write(
        self, batch: Batch, kind: str, numbers: list[int], more: list[bytes], *, failed: bool
    ) -> str | None:
        """Join answers into a file; its id, None where there are none."""
        if not numbers and not more:
            return None
        # A name that writing it again after a crash repeats.
        mark = uuid.uuid5(uuid.NAMESPACE_OID, f"{batch.id}/{kind}").hex
        size_bytes = 0

        async def joined() -> AsyncIterator[bytes]:
            nonlocal size_bytes
            async for part in self._parts(batch, numbers, more, failed=failed):
                size_bytes += len(part)
                yield part

        file = KeptFile(
            id=FILE_PREFIX + mark[:24],
            owner=batch.owner,
            name=f"{batch.id}_{kind}.jsonl",
            purpose="batch_output",
            size_bytes=0,
            created_at=time.time(),
        )
        await self.files.put(file.key, joined())
        # What was drawn is never refused, but it counts.
        await self.quota.settle(batch.owner, file.key, size_bytes)
        kept = msgspec.structs.replace(file, size_bytes=size_bytes)
        await self.in_thread(self.store.add_file, kept)
        return file.id

    async def _parts(
        self, batch: Batch, numbers: Iterable[int], more: list[bytes], *, failed: bool
    ) -> AsyncIterator[bytes]:
        for number in numbers:
            if (part := await self.files.get(batch.answer_key(number, failed=failed))) is not None:
                yield part
        for part in more:
            yield part


def _answered(batch: Batch, number: int, line: Line, answer: Answer) -> bytes:
    response = {
        "status_code": answer.status,
        "request_id": answer.request_id,
        "body": msgspec.Raw(answer.body.strip()),
    }
    return _entry(batch, number, line, response=response, error=None)


def _unanswered(batch: Batch, number: int, line: Line, code: str, message: str) -> bytes:
    return _entry(batch, number, line, response=None, error={"code": code, "message": message})


def _entry(batch: Batch, number: int, line: Line, **outcome: Any) -> bytes:
    mark = uuid.uuid5(uuid.NAMESPACE_OID, f"{batch.id}/{number}").hex
    entry = {"id": f"batch_req_{mark[:24]}", "custom_id": line.id, **outcome}
    return msgspec.json.encode(entry) + b"\n"
