"""Files that clients upload to draw from: counted, of the size that was said, swept in time."""

import hashlib
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from typing import IO

import msgspec
from blake3 import blake3

from gateway.errors import InvalidRequest, TooLarge
from gateway.runs.library.files import PIECE_BYTES, FileStore
from gateway.runs.library.library import File, Library
from gateway.runs.library.quota import Quota, Room

MAX_UPLOAD_BYTES = 250 * 2**20
PROMISE_SECONDS = 900
"""How long an upload URL works."""

PREFIXES = {"image": "img", "video": "vid", "audio": "audio"}
ID_CHARACTERS = 16
MAX_TYPE_CHARACTERS = 127
HASH = "blake3:"


class Uploads:
    """Keeps files under their owner; the same bytes twice are one file."""

    def __init__(self, files: FileStore, library: Library, quota: Quota) -> None:
        self.files = files
        self.library = library
        self.quota = quota

    async def keep(self, room: Room, name: str, content_type: str, source: IO[bytes]) -> File:
        """Keep a file in the room that is held for it. Without a name it goes by its id."""
        file = await self.describe(room.owner, name, content_type, source)
        await self.keep_described(room, file, source)
        return file

    async def describe(self, owner: str, name: str, content_type: str, source: IO[bytes]) -> File:
        """The record that a file would have."""
        return await self.library.in_thread(described, owner, name, content_type, source)

    async def keep_described(self, room: Room, file: File, source: IO[bytes]) -> None:
        """Keep a file that has been described."""
        await room.take(file.key, file.size_bytes)
        await self.files.put_file(file.key, source)
        await self.library.add_file(file)
        await room.settle()

    async def keep_beside(
        self,
        room: Room,
        names: Sequence[str],
        content_type: str,
        source: IO[bytes],
        *,
        replaces: bool,
    ) -> File:
        """Keep a file under the first of these names that is free, or that it has already.

        One that `replaces` takes the first name from whatever has it, which is forgotten.

        Raises:
            InvalidRequest: none of the names is free.
        """
        for name in names:
            there = await self.library.file(name, room.owner)
            wanted = await self.library.in_thread(
                described, room.owner, name, content_type, _rewound(source)
            )
            if there is not None and there.id != wanted.id and not replaces:
                continue
            file = await self.keep(room, name, content_type, _rewound(source))
            if there is not None and there.id != file.id:
                await self._forget(there.key)
                await self.library.remove_file(there.id)
            return file
        raise InvalidRequest("There are too many files of this name.", param="image")

    async def promise(self, owner: str, content_type: str, extension: str, size_bytes: int) -> File:
        """A file that may be written once and soon; of that size exactly, if it is not 0."""
        mark = secrets.token_hex(ID_CHARACTERS // 2)
        file = new_file(owner, "", content_type, size_bytes, mark)
        file = msgspec.structs.replace(file, name=f"{file.id}.{extension}")
        most = size_bytes or MAX_UPLOAD_BYTES
        await self.quota.promise(owner, file.key, most, PROMISE_SECONDS)
        await self.library.add_file(file)
        return file

    async def take(self, key: str, body: AsyncIterator[bytes], size_bytes: int | None) -> None:
        """Write what was promised; `size_bytes` is what the sender says, before it is read.

        Raises:
            Conflict: it has been written, or is being.
            Forbidden: it was not promised, or not for so long.
            InvalidRequest, TooLarge: it is not of the promised size; it may be sent again.
        """
        owner = await self.quota.claim(key)
        try:
            file = await self.library.file(key.rpartition("/")[2], owner)
            size = _Size(file.size_bytes if file else 0)
            if size_bytes is not None:
                size.check(size_bytes)
            await self.files.put(key, size.checked(body))
        except BaseException:
            await self.quota.unclaim(key)
            raise
        if file is not None:
            await self.library.add_file(msgspec.structs.replace(file, size_bytes=size.num_bytes))
        await self.quota.settle(owner, key, size.num_bytes)

    async def sweep(self, before: float) -> int:
        """Forget files uploaded before a time, and what was never finished; how many."""
        old = await self.library.files_before(before)
        for file in old:
            await self.forget(file)
        abandoned = await self.quota.abandoned()
        for key in abandoned:
            await self._forget(key)
            await self.library.remove_file(key.rpartition("/")[2])
        return len(old) + len(abandoned)

    async def forget(self, file: File) -> None:
        """Forget a file."""
        await self._forget(file.key)
        await self.library.remove_file(file.id)

    async def _forget(self, key: str) -> None:
        await self.files.delete_one(key)
        await self.quota.release(key)


def _rewound(source: IO[bytes]) -> IO[bytes]:
    source.seek(0)
    return source


class _Size:
    """How large an upload has to be: as promised, or up to the bound for 0."""

    def __init__(self, promised: int) -> None:
        self.promised = promised
        self.num_bytes = 0

    def check(self, size_bytes: int) -> None:
        """Refuse a size that was not promised."""
        self._check_most(size_bytes)
        if self.promised and size_bytes < self.promised:
            raise InvalidRequest(
                f"The upload has {size_bytes} bytes; {self.promised} were announced."
            )

    async def checked(self, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The pieces of a body, as long as they may become the promised file."""
        async for piece in body:
            self.num_bytes += len(piece)
            self._check_most(self.num_bytes)
            yield piece
        self.check(self.num_bytes)

    def _check_most(self, size_bytes: int) -> None:
        most = self.promised or MAX_UPLOAD_BYTES
        if size_bytes > most:
            raise TooLarge(f"The upload has more than the {most} bytes that were announced.")


def described(owner: str, name: str, content_type: str, source: IO[bytes]) -> File:
    """The record of a file, whose id its bytes decide."""
    digest, hash = hashlib.sha256(f"{owner}\n{name}\n".encode()), blake3()
    size_bytes = 0
    while piece := source.read(PIECE_BYTES):
        digest.update(piece)
        hash.update(piece)
        size_bytes += len(piece)
    file = new_file(owner, name, content_type, size_bytes, digest.hexdigest())
    return msgspec.structs.replace(file, hash=f"{HASH}{hash.hexdigest()}")


def new_file(owner: str, name: str, content_type: str, size_bytes: int, mark: str) -> File:
    """A file's record; `mark` makes its id its own."""
    prefix = PREFIXES.get(content_type.split("/", maxsplit=1)[0], "file")
    prefix = "zip" if content_type == "application/zip" else prefix
    id = f"{prefix}_{mark[:ID_CHARACTERS]}"
    kind = content_type[:MAX_TYPE_CHARACTERS]
    return File(id, owner, name or id, kind, size_bytes, time.time())
