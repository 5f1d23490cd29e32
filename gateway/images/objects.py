"""Bytes by key in a folder or a bucket; every fault of the store is one of the family.

The store is Rust. Its runtime is made when it is first used, and one that could not be made
then, for want of descriptors, panics for the life of the process: so it is used at start.
Its threads aborted one in five processes that ended right after it was used, on a busy
machine, and none that waited for a moment: so all do.
"""

import asyncio
import atexit
import os
import re
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import obstore
import structlog
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore, from_url

if TYPE_CHECKING:
    from obstore import GetOptions

from gateway.errors import GatewayError, NotStored, StoreUnavailable
from gateway.settings import Settings, SettingsError, variable
from gateway.telemetry.metrics import STORE_FAILURES, from_zero

ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
"""Variables that say where a bucket is which is not Amazon's."""

PANIC = "PanicException"
PUT_SECONDS = 60.0
"""The store tries again by itself, for minutes; nobody waits that long for a picture's URL."""

PIECE_BYTES = 2**16
"""Of what is read piece by piece: so much of it a silent reader keeps in memory."""

PROBE_BYTES = 4096
MAX_PROBE_BYTES = 2**20
PROVEN_SECONDS = 1.0
"""For so long a picture that was kept proves as much as a probe."""

FAREWELL_SECONDS = 0.05
"""For its threads to come to rest in, before the process goes."""

_ACTS: dict[type[GatewayError], str] = {NotStored: "write", StoreUnavailable: "read"}
from_zero(STORE_FAILURES, _ACTS.values())

log = structlog.get_logger()
atexit.register(time.sleep, FAREWELL_SECONDS)


class Stored(msgspec.Struct, frozen=True):
    """Bytes that are read once: how many there are, the first of them, and the others."""

    size_bytes: int
    beginning: bytes
    rest: Any

    async def pieces(self) -> AsyncIterator[bytes]:
        """All of them.

        Raises:
            StoreUnavailable: the store stops answering.
        """
        yield self.beginning
        with _unavailable():
            async for piece in self.rest:
                yield bytes(piece)

    async def whole(self) -> bytes:
        """All of them at once, for who has looked at their size.

        Raises:
            StoreUnavailable: the store stops answering.
        """
        if len(self.beginning) == self.size_bytes:
            return self.beginning
        pieces = [piece async for piece in self.pieces()]
        # To join megabytes takes a while, in which a thread lets go of the interpreter.
        return await asyncio.to_thread(b"".join, pieces)


class Objects:
    """Bytes at rest, as many stores as there are keep them."""

    def __init__(self, settings: Settings) -> None:
        """Open the store.

        Raises:
            SettingsError: there is none at the setting's place.
        """
        location = settings.store_location
        self._place = f"{variable('store' if settings.store else 'data')} = {location!r}"
        try:
            self._store = _opened(location)
        except (BaseError, OSError) as error:
            raise SettingsError(f"{self._place}: {_first_line(error)}") from None
        self._probe = f"probes/{secrets.token_hex(8)}"
        self._probe_bytes = PROBE_BYTES
        self._worked_at = -1.0

    async def put(self, key: str, data: bytes | AsyncIterator[bytes]) -> None:
        """Keep bytes, or all that come; the same key again replaces them.

        Raises:
            NotStored: they are not kept.
        """
        seconds = PUT_SECONDS if isinstance(data, bytes) else None
        try:
            with _faults(NotStored, "It could not be stored"):
                async with asyncio.timeout(seconds):
                    await obstore.put_async(self._store, key, data)
        except NotStored:
            size = len(data) if isinstance(data, bytes) else PROBE_BYTES
            self._probe_bytes = min(max(size, PROBE_BYTES), MAX_PROBE_BYTES)
            self._worked_at = -1.0
            raise
        self._probe_bytes, self._worked_at = PROBE_BYTES, time.monotonic()

    async def get(self, key: str) -> bytes | None:
        """The bytes of a key, or None.

        Raises:
            StoreUnavailable: nobody knows.
        """
        stored = await self.open(key)
        return await stored.whole() if stored else None

    async def open(self, key: str, span: tuple[int, int] | None = None) -> "Stored | None":
        """The bytes of a key to be read piece by piece, or None; of a span, as slices are told.

        Raises:
            StoreUnavailable: nobody knows.
        """
        with _unavailable():
            try:
                wanted: GetOptions | None = None if span is None else {"range": span}
                found = await obstore.get_async(self._store, key, options=wanted)
            except FileNotFoundError:
                return None
            rest = aiter(found.stream(min_chunk_size=PIECE_BYTES))
            start, end = found.range
            return Stored(end - start, bytes(await anext(rest, b"")), rest)

    async def keys(self, prefix: str, before: datetime | None = None) -> list[str]:
        """The keys under a prefix, those last written before a time if it is given."""
        found = []
        with _unavailable():
            async for page in obstore.list(self._store, prefix):
                found += [
                    entry["path"]
                    for entry in page
                    if before is None or entry["last_modified"] < before
                ]
        return found

    async def delete(self, keys: list[str]) -> None:
        """Delete keys; one that is not there is gone already."""
        if keys:
            with _unavailable(), suppress(FileNotFoundError):
                await obstore.delete_async(self._store, keys)

    async def prove(self) -> None:
        """Use the store at start.

        Raises:
            SettingsError: it does not work.
        """
        try:
            await self.check()
        except GatewayError as error:
            fault = _first_line(error.__cause__ or error)
            raise SettingsError(f"{self._place}: {error.message} ({fault})") from None

    async def check(self) -> None:
        """Put, get and delete something as large as what was refused last.

        Raises:
            GatewayError: the store does not do it.
        """
        if time.monotonic() - self._worked_at < PROVEN_SECONDS:
            return
        data = secrets.token_bytes(self._probe_bytes)
        await self.put(self._probe, data)
        kept = await self.get(self._probe)
        await self.delete([self._probe])
        if kept != data:
            raise StoreUnavailable("The store does not answer what it was given.")


def reason_of(error: BaseException) -> str:
    """What is wrong, in words that tell nobody where things lie."""
    if type(error).__name__ == PANIC:
        return "its library broke down, and the process has to be started anew"
    if isinstance(error, TimeoutError):
        return "it takes too long"
    number = re.search(r"os error (\d+)", str(error))
    if number:
        return os.strerror(int(number[1]))
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0] or type(error).__name__


@contextmanager
def _faults(kind: type[GatewayError], what: str) -> Iterator[None]:
    """Turn what the store raises into an error of the family."""
    try:
        yield
    except BaseException as error:
        is_panic = type(error).__name__ == PANIC  # no Exception: nobody else would catch it
        if not is_panic and not isinstance(error, BaseError | OSError):
            raise
        STORE_FAILURES.labels(_ACTS[kind]).inc()
        log.error("the store failed", fault=_first_line(error))
        raise kind(f"{what}: {reason_of(error)}.") from error


def _unavailable() -> AbstractContextManager[None]:
    return _faults(StoreUnavailable, "The store does not answer")


def _opened(location: str) -> ObjectStore:
    """A store at a folder's path or an `s3://`, `gs://`, `az://` or `memory://` URL."""
    if "://" in location:
        if any(os.environ.get(name, "").startswith("http://") for name in ENDPOINTS):
            os.environ.setdefault("AWS_ALLOW_HTTP", "true")  # as other clients of S3 take it
        return from_url(location)
    return LocalStore(Path(location).expanduser(), mkdir=True)
