"""Vital signs: whether engine, store and database answer, looked at when somebody asks."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

import msgspec
import structlog

from gateway.errors import GatewayError
from gateway.telemetry.metrics import HEALTH

FRESH_SECONDS = 1.0
"""For so long a look is good for everyone who asks."""

PATIENCE_SECONDS = 2.0
"""For what answers later, nobody should wait."""

OK = "ok"
LOADING = "loading"
IMPAIRED = "impaired"
WELL = (OK, LOADING)
Look = Callable[[], Awaitable[str | None]]
"""Looks at one thing: None, or how it stands if not well. What it raises is wrong, too."""

log = structlog.get_logger()


class Health(msgspec.Struct, frozen=True, omit_defaults=True):
    """`status` is `ok`, `impaired`, `loading`, `stopping` or `failing`; `checks` say why, of each.

    `impaired`: pictures are drawn, and something else does not answer. `warnings` are for the
    operator.
    """

    status: str
    checks: dict[str, str]
    warnings: tuple[str, ...] = ()

    @property
    def is_ready(self) -> bool:
        """Whether a picture can be drawn."""
        return self.status in (OK, IMPAIRED)


class Vitals:
    """The signs of one process; `is_leaving` from the moment it is told to stop."""

    def __init__(self) -> None:
        self.is_leaving = False
        self._signs: dict[str, Sign] = {}

    def watch(
        self, name: str, look: Look, *, is_vital: bool, fresh_seconds: float = FRESH_SECONDS
    ) -> None:
        """Look at one thing more, no oftener than every so many seconds.

        It is vital if no picture can be drawn without it.
        """
        self._signs[name] = Sign(name, look, is_vital, fresh_seconds)

    async def health(self) -> Health:
        """How everything stands now, or stood a moment ago."""
        signs = list(self._signs.values())
        found = await asyncio.gather(*(sign.state() for sign in signs))
        checks = {sign.name: state for sign, state in zip(signs, found, strict=True)}
        vital = {checks[sign.name] for sign in signs if sign.is_vital}
        return Health(self._status(vital, set(found)), checks)

    def close(self) -> None:
        """Look no more."""
        for sign in self._signs.values():
            sign.close()

    def _status(self, vital: set[str], states: set[str]) -> str:
        if self.is_leaving:
            return "stopping"
        if not vital <= {OK}:
            return LOADING if vital <= set(WELL) else "failing"
        return OK if states <= {OK} else IMPAIRED


class Sign:
    """One thing and the latest look at it; a look that hangs is waited for, not begun again."""

    def __init__(self, name: str, look: Look, is_vital: bool, fresh_seconds: float) -> None:
        self.name = name
        self.is_vital = is_vital
        self._look = look
        self._fresh_seconds = fresh_seconds
        self._looking: asyncio.Task[None] | None = None
        self._began = -fresh_seconds
        self._state = OK

    async def state(self) -> str:
        """`ok`, or how it stands."""
        if self._looking is None and time.monotonic() - self._began >= self._fresh_seconds:
            self._began = time.monotonic()
            self._looking = asyncio.create_task(self._take())
        if (looking := self._looking) is not None:
            left = self._began + PATIENCE_SECONDS - time.monotonic()
            await asyncio.wait({looking}, timeout=max(0.0, left))
            if not looking.done():
                self._note(f"no answer for {time.monotonic() - self._began:.0f} s")
        return self._state

    def close(self) -> None:
        """Stop looking."""
        if self._looking is not None:
            self._looking.cancel()

    async def _take(self) -> None:
        try:
            self._note(await self._look() or OK)
        except GatewayError as error:
            self._note(error.message)
        except Exception as error:
            # Its text may name hosts and folders, and anyone may ask: that is for the log.
            self._note(type(error).__name__, fault=str(error))
        finally:
            self._looking = None

    def _note(self, state: str, **facts: str) -> None:
        if (state in WELL) != (self._state in WELL):
            level = logging.INFO if state in WELL else logging.ERROR
            log.log(level, "vital sign changed", sign=self.name, state=state, **facts)
        self._state = state
        HEALTH.labels(self.name).set(state in WELL)
