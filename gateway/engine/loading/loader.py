"""The threads that read files beside running work, and what they could not read."""

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import structlog

from gateway.catalog.cards import CardError
from gateway.catalog.heads.stamps import stamps_of
from gateway.engine.weights.files import Origin
from gateway.telemetry import metrics

FAULT_SECONDS = 60.0
"""How long a failed load answers for itself before it is tried again, if its files stay.

It may have failed by what no file shows: the network, the memory, a package."""

MOST_AT_ONCE = 64
"""A download may take hours, and holds up nothing but what it is for."""

Command = Callable[[], None]

log = structlog.get_logger()


class Fault(NamedTuple):
    """Why something could not be loaded, until when that is taken for so, and of which files."""

    error: Exception
    until: float
    files: Origin


class Loader:
    """Reads all at once that is wanted.

    `tell` has the engine's thread do what a load left to do, then `ended` is called there.
    `seconds` is how long the latest load of each took, with what had to be downloaded for it.
    """

    def __init__(self, tell: Callable[[Command], None], ended: Command) -> None:
        self._tell = tell
        self._ended = ended
        self._threads = ThreadPoolExecutor(MOST_AT_ONCE, thread_name_prefix="loader")
        self._pending: set[str] = set()
        self._faults: dict[str, Fault] = {}
        self.seconds: dict[str, float] = {}

    def is_reading(self, id: str) -> bool:
        """Whether something is being read, or waits for it."""
        return id in self._pending

    def fault(self, id: str) -> Exception | None:
        """Why something could not be read, unless it is time to try again."""
        fault = self._faults.get(id)
        return fault.error if fault and time.monotonic() < fault.until else None

    @property
    def faults(self) -> dict[str, Exception]:
        """Why what was last tried in vain could not be read, if its files are what they were."""
        kept = self._faults.copy()
        return {id: fault.error for id, fault in kept.items() if fault.files.is_current}

    def look(self, ids: Iterable[str]) -> None:
        """Forget the faults of files that have changed."""
        for id in ids:
            if id in self._faults and not self._faults[id].files.is_current:
                del self._faults[id]

    def read(
        self, id: str, files: Callable[[], Sequence[Path]], work: Callable[[], Command]
    ) -> None:
        """Work in a thread, unless it is under way; then finish on the engine's."""
        if id in self._pending:
            return
        self._pending.add(id)
        stamps: Origin = Origin()

        def attempt() -> Command:
            nonlocal stamps
            stamps = Origin(None, stamps_of(files()))
            began = time.monotonic()
            command = work()
            self.seconds[id] = time.monotonic() - began
            return command

        future = self._threads.submit(attempt)
        future.add_done_callback(lambda done: self._tell(lambda: self._finish(id, done, stamps)))

    def close(self) -> None:
        """End the threads, each when it has read what it reads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _finish(self, id: str, done: "Future[Command]", files: Origin) -> None:
        self._pending.discard(id)
        if done.cancelled():
            return
        try:
            done.result()()
        except Exception as error:
            if isinstance(error, CardError):
                log.error("load failed", model=id, fault=str(error))
            else:
                log.error("load failed", model=id, exc_info=error)
            metrics.LOADS_FAILED.labels(id).inc()
            self._faults[id] = Fault(error, time.monotonic() + FAULT_SECONDS, files)
        else:
            self._faults.pop(id, None)
            metrics.LOADS.labels(id).inc()
        self._ended()
