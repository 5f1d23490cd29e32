"""Where runs' input pictures come from: uploads, data URLs, and URLs through the guard.

Only their bytes: what is in them is seen in `album.py`.
"""

from gateway.errors import NotFound, TooLarge
from gateway.images.darkroom import Darkroom
from gateway.images.decode import shown
from gateway.images.objects import Stored
from gateway.outside.guard import UrlRefused
from gateway.outside.inline import inline_bytes, is_inline
from gateway.outside.outbound import Outbound
from gateway.runs.library.files import FileStore
from gateway.runs.library.library import Library
from gateway.runs.library.signed import SignedUrls

MAX_BYTES = 64 * 2**20


class Sources:
    """Loads pictures for the runs of one owner at a time."""

    def __init__(
        self,
        signed: SignedUrls,
        files: FileStore,
        library: Library,
        outbound: Outbound,
        darkroom: Darkroom,
        *,
        fetches: bool,
    ) -> None:
        self.files = files
        self.signed = signed
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
        if is_inline(source):
            return await self.darkroom.do(inline_bytes, source, source)
        if (own := await self.signed.open(source)) is not None:
            return await _whole(own, source)
        if source[:8].lower().startswith(("http://", "https://")):
            if not self.fetches:
                raise UrlRefused("This gateway does not fetch URLs; upload the file instead.")
            return await self.outbound.fetch(source, owner, max_bytes=MAX_BYTES)
        file = await self.library.file(source, owner)
        if file is None:
            raise NotFound(f"No file '{shown(source)}' was uploaded.")
        stored = await self.files.open(file.key)
        if stored is None:
            raise NotFound(f"The file '{shown(source)}' is gone.")
        return await _whole(stored, source)


async def _whole(stored: Stored, source: str) -> bytes:
    _check_size(source, stored.size_bytes)
    return await stored.whole()


def _check_size(source: str, size_bytes: int) -> None:
    if size_bytes > MAX_BYTES:
        raise TooLarge(f"The picture '{shown(source)}' has over {MAX_BYTES >> 20} MiB.")
