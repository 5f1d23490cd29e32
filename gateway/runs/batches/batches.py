"""Batches from the outside: files taken, batches begun, watched, cancelled and forgotten."""

import secrets
import time
from collections.abc import Awaitable, Callable
from io import SEEK_END
from typing import IO

import structlog

from gateway.errors import Conflict, NotFound
from gateway.images.objects import Stored
from gateway.runs.batches.records import FILE_PREFIX, Batch, KeptFile
from gateway.runs.batches.store import Announce, BatchStore
from gateway.runs.batches.working import BatchWork
from gateway.runs.hooks.events import event_ids
from gateway.runs.library.files import FileStore
from gateway.runs.library.quota import Room
from gateway.telemetry import traces

log = structlog.get_logger()

WINDOW_SECONDS = 24 * 3600
SWEPT_AT_ONCE = 100
NOT_CANCELLABLE = ("failed", "completed", "expired", "finalizing")


class Batches:
    """The one object that the web layer knows of batches."""

    def __init__(
        self,
        store: BatchStore,
        work: BatchWork,
        files: FileStore,
        announce: Announce,
        forget_work: Callable[[list[str]], Awaitable[None]],
    ) -> None:
        self.store = store
        self.work = work
        self.ground = work.ground
        self.files = files
        self.quota = work.quota
        self._announce = announce
        self._forget_work = forget_work

    async def keep_file(
        self,
        room: Room,
        name: str,
        purpose: str,
        source: IO[bytes],
        expires_at: float | None = None,
    ) -> KeptFile:
        """Keep an uploaded file in the room that is held for it."""
        file = KeptFile(
            id=FILE_PREFIX + secrets.token_hex(12),
            owner=room.owner,
            name=name,
            purpose=purpose,
            size_bytes=source.seek(0, SEEK_END),
            created_at=time.time(),
            expires_at=expires_at,
        )
        await room.take(file.key, file.size_bytes)
        await self.files.put_file(file.key, source)
        await self.ground.ask(self.store.add_file, file)
        await room.settle()
        return file

    async def file(self, file_id: str, owner: str) -> KeptFile:
        """A file's record.

        Raises:
            NotFound: the owner has no such file.
        """
        file = await self.ground.ask(self.store.file, file_id, owner)
        if file is None:
            raise NotFound(f"No such File object: {file_id}", param="id")
        return file

    async def files_of(
        self,
        owner: str,
        *,
        purpose: str | None,
        after: str | None,
        limit: int,
        newest_first: bool,
    ) -> tuple[list[KeptFile], bool]:
        """A page of an owner's files, and whether there are more."""
        return await self.ground.ask(
            self.store.files,
            owner,
            purpose=purpose,
            after=after,
            limit=limit,
            newest_first=newest_first,
        )

    async def open(self, file: KeptFile) -> Stored:
        """A file to be read.

        Raises:
            NotFound: they are gone.
        """
        stored = await self.files.open(file.key)
        if stored is None:
            raise NotFound(f"No such File object: {file.id}", param="id")
        return stored

    async def delete_file(self, file: KeptFile) -> None:
        """Forget a file."""
        await self.files.delete_one(file.key)
        await self.quota.release(file.key)
        await self.ground.ask(self.store.remove_file, file.id)

    async def begin(self, batch: Batch) -> None:
        """Write a batch down, to be worked through from now on."""
        await self.ground.ask(self.store.add, batch, self._announce)

    async def get(self, batch_id: str, owner: str) -> Batch:
        """A batch as it stands.

        Raises:
            NotFound: the owner has no such batch.
        """
        batch = await self.ground.ask(self.store.get, batch_id, owner)
        if batch is None:
            raise NotFound(f"No batch found with id '{batch_id}'.", param="batch_id")
        return batch

    async def page(self, owner: str, *, after: str | None, limit: int) -> tuple[list[Batch], bool]:
        """A page of an owner's batches, newest first, and whether there are more."""
        return await self.ground.ask(self.store.page, owner, after=after, limit=limit)

    async def cancel(self, batch_id: str, owner: str) -> Batch:
        """Have a batch stop; what is answered by then stays.

        Raises:
            NotFound: the owner has no such batch.
            Conflict: it has ended already.
        """
        batch = await self.get(batch_id, owner)
        await self.ground.ask(
            self.store.change,
            batch_id,
            unless=(*NOT_CANCELLABLE, "cancelling", "cancelled"),
            status="cancelling",
            cancelling_at=time.time(),
        )
        self.work.cancel(batch_id)
        batch = await self.get(batch_id, owner)
        if batch.status in NOT_CANCELLABLE:
            raise Conflict(f"Cannot cancel a batch with status '{batch.status}'.")
        return batch

    async def sweep(self, before: float) -> int:
        """Forget some files and batches that are older than a time, or expired; how many.

        Whether a file has expired the calendar says, as its bytes do not come back.
        """
        old = await self.ground.ask(self.store.ended_before, before, SWEPT_AT_ONCE)
        if old:
            ids = [batch.id for batch in old]
            events = await self.ground.ask(event_ids, self.ground.engine, ids)
            await self._forget_work([*ids, *events])
        for batch in old:
            await self.ground.ask(self.store.forget, batch.id)
        now = self.ground.calendar.now()
        files = await self.ground.ask(self.store.files_to_forget, before, now, SWEPT_AT_ONCE)
        for file in files:
            await self.delete_file(file)
        if old or files:
            log.info("batches forgotten", batches=len(old), files=len(files))
        return len(old) + len(files)


def new_batch(
    owner: str,
    endpoint: str,
    file: KeptFile,
    base_url: str,
    metadata: dict[str, str] | None,
    kept_seconds: float | None = None,
) -> Batch:
    """A batch that nothing has happened to yet."""
    now = time.time()
    return Batch(
        id=f"batch_{secrets.token_hex(12)}",
        owner=owner,
        endpoint=endpoint,
        input_file_id=file.id,
        created_at=now,
        expires_at=now + WINDOW_SECONDS,
        base_url=base_url,
        metadata=metadata,
        kept_seconds=kept_seconds,
        trace=traces.current(),
    )
