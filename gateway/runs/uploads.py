"""Files that clients upload to draw from."""

import hashlib
import time

from gateway.runs.files import FileStore
from gateway.runs.library import File, Library

PREFIXES = {"image": "img", "video": "vid", "audio": "audio"}
ID_CHARACTERS = 16


class Uploads:
    """Keeps files under their owner; the same bytes twice are one file."""

    def __init__(self, files: FileStore, library: Library) -> None:
        self.files = files
        self.library = library

    async def keep(self, owner: str, name: str, content_type: str, data: bytes) -> File:
        """Keep a file. Without a name it goes by its id."""
        marked = hashlib.sha256(f"{owner}\n{name}\n".encode() + data).hexdigest()
        file = new_file(owner, name, content_type, len(data), marked)
        await self.files.put(file.key, data)
        await self.library.add_file(file)
        return file

    async def sweep(self, before: float) -> int:
        """Forget files uploaded before a time; how many."""
        old = await self.library.files_before(before)
        for file in old:
            await self.files.delete_one(file.key)
            await self.library.remove_file(file.id)
        return len(old)


def new_file(owner: str, name: str, content_type: str, size_bytes: int, mark: str) -> File:
    """A file's record; `mark` makes its id its own."""
    prefix = PREFIXES.get(content_type.split("/", maxsplit=1)[0], "file")
    prefix = "zip" if content_type == "application/zip" else prefix
    id = f"{prefix}_{mark[:ID_CHARACTERS]}"
    return File(id, owner, name or id, content_type, size_bytes, time.time())
