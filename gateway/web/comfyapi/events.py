"""What happens to a job, as server-sent events at a pace that clients can follow."""

import time
from base64 import b64encode
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from litestar.response import Stream

from gateway.errors import RateLimited
from gateway.outages import patiently
from gateway.runs.records import Run, RunOutput
from gateway.runs.runs import Runs
from gateway.web.comfyapi.objects import STATUSES, error_of, output_objects
from gateway.web.comfyapi.story import Story
from gateway.web.door.asking import Asker

EVENTS = "text/event-stream"
HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
PACE_SECONDS = 0.5
"""Between two frames of progress; what happens in between is in the next."""

SILENCE_SECONDS = 10.0
"""Until a sign of life: clients give up after 45."""

MAX_STREAMS = 64
"""Of one key at a time, in one process."""

RETRY_SECONDS = 2.0


class Streams:
    """How many streams each owner has open."""

    def __init__(self) -> None:
        self.num_open: Counter[str] = Counter()

    def check(self, owner: str) -> None:
        """Refuse one too many.

        Raises:
            RateLimited: it would be.
        """
        if self.num_open[owner] >= MAX_STREAMS:
            raise RateLimited(
                f"{MAX_STREAMS} streams of events are open for this API key.",
                code="too_many_streams",
                retry_after_seconds=RETRY_SECONDS,
            )


def events_of(runs: Runs, run: Run, asker: Asker, streams: Streams) -> Stream:
    """The stream of a job; closing it leaves the job alone.

    Raises:
        RateLimited: its owner has too many open.
    """
    streams.check(asker.owner)
    frames = _counted(_Telling(runs, run, asker), streams, asker.owner)
    return Stream(frames, media_type=EVENTS, headers=HEADERS)


async def _counted(telling: "_Telling", streams: Streams, owner: str) -> AsyncIterator[bytes]:
    streams.num_open[owner] += 1
    try:
        async for frame in telling.frames():
            yield frame
    finally:
        streams.num_open -= Counter((owner,))


class _Telling:
    """One client being told of one job."""

    def __init__(self, runs: Runs, run: Run, asker: Asker) -> None:
        self.runs = runs
        self.run = run
        self.asker = asker
        self.story = Story(run, runs.performer.live)
        self._told_at = 0.0
        self._progress_at = 0.0
        self._shown_at = 0.0
        self._progress: dict[str, Any] | None = None
        self._standing: dict[str, Any] | None = None
        self._outputs: set[str] = set()

    async def frames(self) -> AsyncIterator[bytes]:
        """All that is told, to the job's end."""
        async for frame in self._while_it_goes_on():
            self._told_at = time.monotonic()
            yield frame
        for frame in await self._end():
            yield frame

    async def _while_it_goes_on(self) -> AsyncIterator[bytes]:
        if not self.run.has_ended:
            yield await self._status()
        async for notice in self.runs.watch(self.run.id, self.run.owner):
            if notice is None:
                for frame in await self._looked():
                    yield frame
                continue
            self.story.add(notice)
            if notice.event == "execution_start":
                self.run = self.story.run = msgspec.structs.replace(self.run, status="started")
                yield await self._status()
            elif notice.event == "executed":
                for frame in self._made(notice.data):
                    yield frame
            elif notice.event == "preview":
                for frame in self._previewed(notice.data):
                    yield frame
            elif notice.event != "status":
                for frame in self._paced():
                    yield frame

    async def _looked(self) -> list[bytes]:
        """What a look at the job shows: it may wait, or be drawn by another process."""
        run = await patiently(lambda: self.runs.get(self.run.id, self.run.owner), "database")
        if run is None or run.has_ended:
            return []  # its end is told in its turn
        self.run = self.story.run = run
        before, status = self._standing, await self._status()
        found = [status] if self._standing != before else []
        if run.status != "queued":
            found += self._paced()
        if not found and time.monotonic() - self._told_at > SILENCE_SECONDS:
            found = [b": keep-alive\n\n"]
        return found

    async def _status(self) -> bytes:
        run = self.run
        waits = run.status == "queued"
        ahead = await patiently(lambda: self.runs.num_ahead(run), "database") if waits else None
        self._standing = {"status": STATUSES[run.status], "queue_position": ahead}
        return _frame("status", self._standing)

    def _paced(self) -> list[bytes]:
        """How far the job is, if that is news and time for it."""
        now = time.monotonic()
        progress = self.story.progress()
        if now - self._progress_at < PACE_SECONDS or progress == self._progress:
            return []
        self._progress, self._progress_at = progress, now
        return [_frame("progress", progress)]

    def _previewed(self, picture: bytes) -> list[bytes]:
        """A picture as it is drawn, at the same pace."""
        now = time.monotonic()
        if now - self._shown_at < PACE_SECONDS:
            return []
        self._shown_at = now
        told = {
            "node_id": self.story.node or "",
            "content_type": "image/jpeg",
            "data_base64": b64encode(picture).decode(),
        }
        return [_frame("preview", told)]

    def _made(self, output: RunOutput) -> list[bytes]:
        if output.id in self._outputs:
            return []
        self._outputs.add(output.id)
        told = output_objects(output, self.runs, self.asker)
        return [_frame("output", each) for each in told]

    async def _end(self) -> list[bytes]:
        """How the job ended, with what has not been told yet."""
        run = await patiently(lambda: self.runs.get(self.run.id, self.run.owner), "database")
        if run is None:
            return []
        made = await patiently(lambda: self.runs.outputs(run.id), "database")
        frames = [frame for output in made for frame in self._made(output)]
        frames += [_log("warning", note.message) for note in run.notes]
        if error := error_of(run, made):
            frames.append(_log("error", error["message"]))
        ended = {"status": STATUSES[run.status], "queue_position": None}
        return [*frames, _frame("status", ended)]


def _log(level: str, message: str) -> bytes:
    return _frame("log", {"level": level, "message": message})


def _frame(name: str, data: Any) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + msgspec.json.encode(data) + b"\n\n"
