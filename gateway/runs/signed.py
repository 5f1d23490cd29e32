"""URLs that this gateway gave out, read from its own stores without asking anybody."""

import re
import time
from urllib.parse import parse_qs, unquote, urlsplit

from gateway.images import store
from gateway.images.store import PictureStore
from gateway.outside.guard import UrlRefused
from gateway.runs import files
from gateway.runs.files import FileStore


class SignedUrls:
    """Known by path and signature, whatever host, scheme or prefix stands before them.

    A gateway behind a proxy may not reach itself by the address that it gives out.
    """

    def __init__(self, pictures: PictureStore, kept: FileStore) -> None:
        self.pictures = pictures
        self.kept = kept

    async def read(self, url: str) -> bytes | None:
        """The bytes behind a URL; None for what was not given out here.

        Raises:
            UrlRefused: it was given out here and leads nowhere any more.
        """
        try:
            parts = urlsplit(url.strip())
        except ValueError:
            return None
        path, query = unquote(parts.path), parse_qs(parts.query)
        said = {name: values[0] for name, values in query.items()}
        for prefix, read in ((store.PREFIX, self._picture), (files.PREFIX, self._kept)):
            _, found, name = path.rpartition(prefix)
            if found and (data := await read(name, said)) is not None:
                return data
        return None

    async def _picture(self, name: str, said: dict[str, str]) -> bytes | None:
        expires = said.get("expires", "")
        until = int(expires) if re.fullmatch(r"[0-9]{1,12}", expires) else 0
        if not self.pictures.is_signed(name, until, said.get("signature", "")):
            return None
        return _there(await self.pictures.get(name) if until > time.time() else None)

    async def _kept(self, key: str, said: dict[str, str]) -> bytes | None:
        if not self.kept.is_signed("read", key, said.get("sig", "")):
            return None
        return _there(await self.kept.get(key))


def _there(data: bytes | None) -> bytes:
    if data is None:
        raise UrlRefused("This gateway's own URL has expired.", code="url_expired")
    return data
