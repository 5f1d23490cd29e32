"""What happens to runs in this process, told to whoever watches as it happens."""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import msgspec

from gateway.runs.records import Run, Status
from gateway.runs.store import NewRun

T = TypeVar("T")
MAX_LAG = 32
"""Notices that a watcher may not have heard yet and still be shown pictures."""


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
        self._awaited: dict[str, list[asyncio.Queue[str]]] = {}

    def begin(self, run_id: str) -> None:
        """A run is being drawn here from now on."""
        self._past[run_id] = []

    def end(self, run_id: str) -> None:
        """A run is not being drawn here any more."""
        self._past.pop(run_id, None)
        self.progress.pop(run_id, None)

    @contextmanager
    def coming(self, owner: str) -> Iterator["asyncio.Queue[str]"]:
        """A queue of the ids of an owner's runs as they are accepted here from now on."""
        queue: asyncio.Queue[str] = asyncio.Queue()
        with _listed(self._awaited, owner, queue):
            yield queue

    def accepted(self, new: Iterable[NewRun]) -> None:
        """Runs were accepted."""
        for run in new:
            for queue in self._awaited.get(run.owner, ()):
                queue.put_nowait(run.id)

    @contextmanager
    def watch(self, run_id: str) -> Iterator["asyncio.Queue[Notice]"]:
        """A queue of what has happened to a run since it was begun, and of what will."""
        queue: asyncio.Queue[Notice] = asyncio.Queue()
        for notice in self._past.get(run_id, ()):
            queue.put_nowait(notice)
        with _listed(self._watchers, run_id, queue):
            yield queue

    def past(self, run_id: str) -> list[Notice]:
        """What has happened to a run since it was begun; nothing where it is not drawn here."""
        return self._past.get(run_id, [])

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

    def show(self, run_id: str, preview: bytes) -> None:
        """Show a picture as it is drawn to those who watch now and keep up."""
        for queue in self._watchers.get(run_id, ()):
            if queue.qsize() < MAX_LAG:
                queue.put_nowait(Notice("preview", preview))


@contextmanager
def _listed(lists: dict[str, list[T]], name: str, entry: T) -> Iterator[None]:
    """An entry of a list by name, which is there only while it has any."""
    lists.setdefault(name, []).append(entry)
    try:
        yield
    finally:
        lists[name].remove(entry)
        if not lists[name]:
            del lists[name]
