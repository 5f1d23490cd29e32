"""URLs that this gateway gave out, read from its own stores without asking anybody."""

import re
import time
from urllib.parse import parse_qs, unquote, urlsplit

from gateway.images import store
from gateway.images.objects import Stored
from gateway.images.store import PictureStore
from gateway.outside.guard import UrlRefused
from gateway.runs.library import files
from gateway.runs.library.files import FileStore

MAX_CHARACTERS = 8192
"""Of a URL that is given out here, under whatever prefix; what is longer is a picture itself."""


class SignedUrls:
    """Known by path and signature, whatever host, scheme or prefix stands before them.

    A gateway behind a proxy may not reach itself by the address that it gives out.
    """

    def __init__(self, pictures: PictureStore, kept: FileStore) -> None:
        self.pictures = pictures
        self.kept = kept

    async def open(self, url: str) -> Stored | None:
        """What is behind a URL, its size known before it is read; None for those of others.

        Raises:
            UrlRefused: it was given out here and leads nowhere any more.
        """
        if len(url) > MAX_CHARACTERS:
            return None
        try:
            parts = urlsplit(url.strip())
        except ValueError:
            return None
        path, query = unquote(parts.path), parse_qs(parts.query)
        said = {name: values[0] for name, values in query.items()}
        for prefix, open_named in ((store.PREFIX, self._picture), (files.PREFIX, self._kept)):
            _, found, name = path.rpartition(prefix)
            if found and (stored := await open_named(name, said)) is not None:
                return stored
        return None

    async def _picture(self, name: str, said: dict[str, str]) -> Stored | None:
        expires = said.get("expires", "")
        until = int(expires) if re.fullmatch(r"[0-9]{1,12}", expires) else 0
        if not self.pictures.is_signed(name, until, said.get("signature", "")):
            return None
        return _there(await self.pictures.open(name) if until > time.time() else None)

    async def _kept(self, key: str, said: dict[str, str]) -> Stored | None:
        if not self.kept.is_signed("read", key, said.get("sig", "")):
            return None
        return _there(await self.kept.open(key))


def _there(stored: Stored | None) -> Stored:
    if stored is None:
        raise UrlRefused("This gateway's own URL has expired.", code="url_expired")
    return stored
