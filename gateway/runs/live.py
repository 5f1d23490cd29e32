"""What happens to runs in this process, told to whoever watches as it happens."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from gateway.runs.records import Run, Status


class Notice(msgspec.Struct, frozen=True):
    """One thing that happened to a run: ComfyUI's name for it, and its data."""

    event: str
    data: Any


class Progress(msgspec.Struct):
    """How far a run is that this process draws."""

    status: Status
    live_status: str | None
    progress: float


class Live:
    """The runs being drawn here, and their watchers. Belongs to the event loop."""

    def __init__(self) -> None:
        self.progress: dict[str, Progress] = {}
        self._past: dict[str, list[Notice]] = {}
        self._watchers: dict[str, list[asyncio.Queue[Notice]]] = {}

    def begin(self, run_id: str) -> None:
        """A run is being drawn here from now on."""
        self._past[run_id] = []

    def end(self, run_id: str) -> None:
        """A run is not being drawn here any more."""
        self._past.pop(run_id, None)
        self.progress.pop(run_id, None)

    @contextmanager
    def watch(self, run_id: str) -> Iterator["asyncio.Queue[Notice]"]:
        """A queue of what has happened to a run since it was begun, and of what will."""
        queue: asyncio.Queue[Notice] = asyncio.Queue()
        for notice in self._past.get(run_id, ()):
            queue.put_nowait(notice)
        self._watchers.setdefault(run_id, []).append(queue)
        try:
            yield queue
        finally:
            self._watchers[run_id].remove(queue)
            if not self._watchers[run_id]:
                del self._watchers[run_id]

    def fresh(self, run: Run) -> Run:
        """A run as read from the database, with what has not been written down yet."""
        now = self.progress.get(run.id)
        if now is None or run.has_ended:
            return run
        return msgspec.structs.replace(
            run, status=now.status, live_status=now.live_status, progress=now.progress
        )

    def tell(self, run_id: str, event: str, data: Any = None) -> None:
        """Tell the watchers of a run, those there are and those to come."""
        notice = Notice(event, data)
        if run_id in self._past:
            self._past[run_id].append(notice)
        for queue in self._watchers.get(run_id, ()):
            queue.put_nowait(notice)
