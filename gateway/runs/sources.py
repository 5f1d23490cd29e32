"""Where runs' input pictures come from: uploads, data URLs, and URLs through the guard.

Only their bytes: what is in them is seen in `album.py`.
"""

from urllib.parse import parse_qs, unquote, urlsplit

from gateway.errors import NotFound, TooLarge
from gateway.images.darkroom import Darkroom
from gateway.images.decode import from_base64, is_data_url, shown
from gateway.outside.guard import UrlRefused
from gateway.outside.outbound import Outbound
from gateway.runs.files import PREFIX, FileStore
from gateway.runs.library import Library

MAX_BYTES = 64 * 2**20


class Sources:
    """Loads pictures for the runs of one owner at a time."""

    def __init__(
        self,
        files: FileStore,
        library: Library,
        outbound: Outbound,
        darkroom: Darkroom,
        *,
        fetches: bool,
    ) -> None:
        self.files = files
        self.darkroom = darkroom
        self.library = library
        self.outbound = outbound
        self.fetches = fetches

    async def load(self, source: str, owner: str) -> bytes:
        """The bytes of an uploaded file's id or name, a URL of ours, a data URL or any URL.

        Raises:
            InvalidRequest: it cannot be had.
            TooLarge: it has over `MAX_BYTES`.
        """
        data = await self._bytes(source, owner)
        _check_size(source, len(data))
        return data

    async def _bytes(self, source: str, owner: str) -> bytes:
        if is_data_url(source):
            return await self.darkroom.do(from_base64, source, source)
        if key := self._own_key(source):
            return await self._stored(key, source)
        if source.startswith(("http://", "https://")):
            if not self.fetches:
                raise UrlRefused("This gateway does not fetch URLs; upload the file instead.")
            return await self.outbound.fetch(source, owner, max_bytes=MAX_BYTES)
        file = await self.library.file(source, owner)
        if file is None:
            raise NotFound(f"No file '{shown(source)}' was uploaded.")
        _check_size(source, file.size_bytes)
        return await self._stored(file.key, source)

    def _own_key(self, source: str) -> str | None:
        """The key of a URL that this gateway gave out; its signature says that it did."""
        parts = urlsplit(source)
        key = unquote(parts.path.rpartition(PREFIX)[2])
        signature = parse_qs(parts.query).get("sig", [""])[0]
        return key if signature and self.files.is_signed("read", key, signature) else None

    async def _stored(self, key: str, source: str) -> bytes:
        data = await self.files.get(key)
        if data is None:
            raise NotFound(f"The file '{shown(source)}' is gone.")
        return data


def _check_size(source: str, size_bytes: int) -> None:
    if size_bytes > MAX_BYTES:
        raise TooLarge(f"The picture '{shown(source)}' has over {MAX_BYTES >> 20} MiB.")
