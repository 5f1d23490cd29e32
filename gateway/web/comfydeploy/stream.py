"""Server-sent events of a run, by the only names that the SDKs allow."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import msgspec
from litestar.response import Stream

from gateway.runs.live import Notice
from gateway.runs.records import Run, RunOutput
from gateway.runs.runs import Runs
from gateway.runs.story import story
from gateway.runs.telling import iso, output_object

HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
PING = b": ping\n\n"


def stream_of(runs: Runs, run: Run) -> Stream:
    """The stream of a run; closing it leaves the run alone."""
    return Stream(_frames(runs, run), media_type="text/event-stream", headers=HEADERS)


async def _frames(runs: Runs, run: Run) -> AsyncIterator[bytes]:
    yield _log(f"Run {run.id} is {run.status}", run.updated_at)
    for name, data in _opening(run):
        yield _event(name, data)
    yield _frame("event_update", {"prompt_id": run.id, "number": run.number, "node_errors": {}})
    async with aclosing(story(runs, run.id, run.owner)) as notices:
        async for notice in notices:
            for frame in _told(runs, run, notice) if notice else [PING]:
                yield frame


def _opening(run: Run) -> list[tuple[str, Any]]:
    """What a hosted run goes through before its first node; here it takes no time."""
    return [
        ("queuing", None),
        ("function_call_id", run.id),
        ("gpu_ready", None),
        ("gpu_event_id", run.order.gpu_event_id or run.id),
        ("comfyui_api_ready", None),
        ("comfyui_ready", None),
    ]


def _told(runs: Runs, run: Run, notice: Notice) -> list[bytes]:
    """The frames of one notice: ComfyUI's event, and ComfyDeploy's beside it."""
    prompt = {"prompt_id": run.id}
    match notice.event:
        case "executed":
            return _executed(runs, run, notice.data)
        case "progress":
            return [_event("progress", notice.data | prompt), *_live(runs, run)]
        case "executing":
            return [_event("executing", {"node": notice.data} | prompt)]
        case "execution_start":
            return [
                _event("execution_start", prompt),
                _event("execution_cached", {"nodes": []} | prompt),
            ]
        case "ended":
            return _end(notice.data)
        case _:
            return []


def _executed(runs: Runs, run: Run, output: RunOutput) -> list[bytes]:
    made = output_object(output, run.order.base_url, runs.files)["data"]
    data = {"node": output.node_id, "output": made, "prompt_id": run.id}
    return [_event("executed", data), _event("output_ready", data)]


def _live(runs: Runs, run: Run) -> list[bytes]:
    now = runs.performer.live.progress.get(run.id)
    if now is None:
        return []
    data = {"prompt_id": run.id, "live_status": now.live_status, "progress": now.progress}
    return [_event("live_status", data)]


def _end(ended: Run) -> list[bytes]:
    """How a run ended; one that failed says why, as ComfyUI does."""
    frames = []
    if ended.status in ("failed", "timeout"):
        why = ended.error or ended.status
        frames = [
            _log(why, ended.updated_at),
            _event("execution_error", {"prompt_id": ended.id, "exception_message": why}),
        ]
    end = {"prompt_id": ended.id, "status": ended.status, "warnings": ended.notes}
    return [*frames, _event("status", end)]


def _event(name: str, data: Any) -> bytes:
    return _frame("event_update", {"event": name, "data": data})


def _log(text: str, at: float) -> bytes:
    return _frame("log_update", {"logs": text, "timestamp": iso(at)})


def _frame(name: str, data: Any) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + msgspec.json.encode(data) + b"\n\n"
