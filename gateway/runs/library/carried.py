"""Pictures that a request for runs carries itself: seen whole before any of it is stored.

A run is read far more often than it is drawn, so that all but short ones become files, which
the run names by their ids.
"""

from io import BytesIO
from typing import Any

import msgspec

from gateway.errors import InvalidRequest
from gateway.images.darkroom import Darkroom
from gateway.images.decode import decode, shown, size_of
from gateway.outside.documents import decode_json
from gateway.outside.inline import inline_bytes, is_inline
from gateway.runs.graph.bounds import MAX_CARRIED
from gateway.runs.library.library import File
from gateway.runs.library.uploads import Uploads, described

INLINE_CHARACTERS = 2000
"""Data URLs up to this long stay in the run."""

NAME_CHARACTERS = 1024
"""What is longer names no file and is no URL: it was meant as a picture."""


class Carried:
    """The pictures of one request, which are all refused or all kept."""

    def __init__(self, owner: str, darkroom: Darkroom) -> None:
        self.owner = owner
        self.darkroom = darkroom
        self._files: dict[str, tuple[File, bytes]] = {}
        self._used: dict[str, tuple[str, tuple[int, int]]] = {}
        self._weighing = darkroom.weigh()

    def lightened(self, value: Any) -> Any:
        """A value with its long pictures named as the files that they will be.

        It may take a tenth of a second: not on an event loop.

        Raises:
            InvalidRequest: a data URL is none, or there are too many.
        """
        if isinstance(value, list):
            return [self.lightened(each) for each in value]
        if isinstance(value, dict):
            return {name: self.lightened(each) for name, each in value.items()}
        if not isinstance(value, str) or len(value) <= INLINE_CHARACTERS:
            return value
        if value.lstrip().startswith("["):
            return self._lightened_list(value)
        return self._file(inline_bytes(value, "inputs")) if is_inline(value) else value

    def _lightened_list(self, text: str) -> str:
        """A list as JSON text, which is how pictures come in a batch; any other text as it is."""
        try:
            listed = decode_json(text.encode())
        except InvalidRequest:
            return text
        return msgspec.json.encode(self.lightened(listed)).decode()

    def _file(self, data: bytes) -> str:
        file = described(self.owner, "", "image/png", BytesIO(data))
        self._files[file.id] = file, data
        _check_count(len(self._files), "inputs")
        return file.id

    def size(self, source: str, param: str) -> tuple[int, int] | None:
        """The `(width, height)` of a picture that the request has and means to use.

        None for what it only names: a URL, a file that was uploaded before.

        Raises:
            InvalidRequest: it is no picture, or none that a run is given the memory for.
        """
        if source not in self._used:
            data = self._data(source, param)
            if data is None:
                return None
            size = size_of(data, param)
            self._used[source] = param, size
            _check_count(len(self._used), param)
            self._weighing.add(len(data), size, param)
        return self._used[source][1]

    async def check(self) -> None:
        """See that all that is used can be decoded.

        Raises:
            InvalidRequest: one of them is not whole.
        """
        for source, (param, _) in self._used.items():
            data = self._data(source, param)
            assert data is not None
            await self.darkroom.do(decode, data, param)

    async def keep(self, uploads: Uploads) -> None:
        """Keep as files what the lightened request names so: all of them, or none.

        Raises:
            StorageFull, RateLimited: as `Quota.room` does.
        """
        if not self._files:
            return
        async with uploads.quota.room(
            self.owner, sum(len(data) for _, data in self._files.values())
        ):
            pass  # there is room for all together
        for file, data in self._files.values():
            async with uploads.quota.room(self.owner, len(data)) as room:
                await uploads.keep(room, "", file.content_type, BytesIO(data))

    def _data(self, source: str, param: str) -> bytes | None:
        if source in self._files:
            return self._files[source][1]
        if is_inline(source):
            return inline_bytes(source, param)
        if len(source) > NAME_CHARACTERS and "://" not in source[:NAME_CHARACTERS]:
            raise InvalidRequest(
                f"Invalid image '{shown(param)}': neither a URL nor a PNG, JPEG, WebP or GIF.",
                param=param,
                code="invalid_image",
            )
        return None


def _check_count(count: int, param: str) -> None:
    if count > MAX_CARRIED:
        message = f"The request has over {MAX_CARRIED} pictures in it; upload them first."
        raise InvalidRequest(message, param=param)
