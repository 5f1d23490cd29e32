"""Faults that pass by themselves: a disk that is full, a database or a store that is gone.

Whoever answers a client says so (503, and when to come back); whoever finishes accepted work
waits and tries again.
"""

import asyncio
import errno
import math
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import sqlalchemy as sa
import structlog

from gateway.errors import DatabaseUnavailable, NotStored, StoreUnavailable
from gateway.telemetry.metrics import OUTAGES

log = structlog.get_logger()
T = TypeVar("T")

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 2.0
PATIENCE_SECONDS = 3600.0
"""For a store that refuses one picture: the fault may be the picture's own."""

TOLD_EVERY_SECONDS = 60.0

_ERRNOS = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EROFS,
        errno.EIO,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.EAGAIN,
        errno.ESTALE,
        errno.EFBIG,
        errno.ENETUNREACH,
        errno.EHOSTUNREACH,
    }
)
_DATABASE = (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError)
_OUR_MISTAKES = ("no such table", "no such column", "has no column", "syntax error")
"""SQLite says these in the class of errors that it has for full disks and locked files."""

_READ_ONLY = "25006"
"""PostgreSQL's state of a server that has just become a standby."""


def is_outage(error: BaseException) -> bool:
    """Whether the same act can succeed later, without anybody changing what was asked."""
    match error:
        case DatabaseUnavailable() | StoreUnavailable() | NotStored():
            return True
        case sa.exc.DBAPIError():
            return _is_databases(error)
        case sa.exc.TimeoutError():
            return True
        case OSError():
            return error.errno in _ERRNOS
        case _:
            return False


def _is_databases(error: sa.exc.DBAPIError) -> bool:
    if error.connection_invalidated or getattr(error.orig, "sqlstate", None) == _READ_ONLY:
        return True
    message = str(error.orig)
    return isinstance(error, _DATABASE) and not any(text in message for text in _OUR_MISTAKES)


async def patiently(act: Callable[[], Awaitable[T]], what: str, *, seconds: float = math.inf) -> T:
    """What an act comes to, tried again while it fails by an outage, for some time.

    `what` names the act in the log and the metrics. What it raises otherwise is raised.
    """
    begun, told_at, pause = time.monotonic(), -math.inf, FIRST_PAUSE_SECONDS
    while True:
        try:
            return await act()
        except Exception as error:
            waited = time.monotonic() - begun
            if not is_outage(error) or waited > seconds:
                raise
            OUTAGES.labels(what).inc()
            if time.monotonic() - told_at > TOLD_EVERY_SECONDS:
                told_at = time.monotonic()
                log.warning("waiting out an outage", what=what, waited=waited, fault=str(error))
        await asyncio.sleep(pause)
        pause = min(LONGEST_PAUSE_SECONDS, pause * 2)


async def again(seconds: float, act: Callable[[], Awaitable[None]]) -> None:
    """Do something now and every so often; whatever is wrong with one time, there is a next."""
    is_out = False
    while True:
        try:
            await act()
            is_out = False
        except Exception as error:
            if not is_outage(error):
                log.error("could not be done", act=act.__name__, exc_info=error)
            elif not is_out:
                is_out = True
                log.warning("put off by an outage", act=act.__name__, fault=str(error))
        await asyncio.sleep(seconds * random.uniform(0.9, 1.1))
