"""The thread that reads files beside running work, and what it could not read."""

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import structlog

from gateway.catalog.stamps import stamps_of
from gateway.engine.files import Origin
from gateway.telemetry import metrics

FAULT_SECONDS = 5.0
"""How long a failed load answers for itself before it is tried again, if its files stay."""

Command = Callable[[], None]

log = structlog.get_logger()


class Fault(NamedTuple):
    """Why something could not be loaded, until when that is taken for so, and of which files."""

    error: Exception
    until: float
    files: Origin


class Loader:
    """Reads one thing at a time; `tell` has the engine's thread do what a load left to do."""

    def __init__(self, tell: Callable[[Command], None], ended: Command) -> None:
        self._tell = tell
        self._ended = ended
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="loader")
        self._pending: set[str] = set()
        self._faults: dict[str, Fault] = {}

    def is_reading(self, id: str) -> bool:
        """Whether something is being read, or waits for it."""
        return id in self._pending

    def fault(self, ids: Iterable[str]) -> Exception | None:
        """Why the first of some could not be read."""
        now = time.monotonic()
        faults = [self._faults[id] for id in ids if id in self._faults]
        return next((fault.error for fault in faults if now < fault.until), None)

    def look(self, ids: Iterable[str]) -> None:
        """Forget the faults of files that have changed."""
        for id in ids:
            if id in self._faults and not self._faults[id].files.is_current:
                del self._faults[id]

    def read(
        self, id: str, files: Callable[[], Sequence[Path]], work: Callable[[], Command]
    ) -> None:
        """Work in the thread, unless it is under way; then finish on the engine's."""
        if id in self._pending:
            return
        self._pending.add(id)
        stamps: Origin = Origin()

        def attempt() -> Command:
            nonlocal stamps
            stamps = Origin(None, stamps_of(files()))
            return work()

        future = self._thread.submit(attempt)
        future.add_done_callback(lambda done: self._tell(lambda: self._finish(id, done, stamps)))

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _finish(self, id: str, done: "Future[Command]", files: Origin) -> None:
        self._pending.discard(id)
        if done.cancelled():
            return
        try:
            done.result()()
        except Exception as error:
            log.error("load failed", model=id, exc_info=error)
            self._faults[id] = Fault(error, time.monotonic() + FAULT_SECONDS, files)
        else:
            metrics.LOADS.labels(id).inc()
        self._ended()
