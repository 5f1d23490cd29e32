"""Runs as ComfyUI tells of prompts: in its queue, its history and over its websocket."""

from collections.abc import Iterable
from typing import Any

import msgspec

from gateway.runs.graph.order import outputs_in
from gateway.runs.records import Run, RunOutput
from gateway.web.comfyui.names import picture_name

TEMPORARY = "PreviewImage"


def queue_entry(run: Run) -> list[Any]:
    """A prompt as it stands in the queue: number, id, graph, what came beside it, its outputs."""
    graph = run.order.graph or {}
    beside = {"client_id": run.order.client_id, "create_time": _milliseconds(run.created_at)}
    return [run.number, run.id, graph, beside, outputs_in(graph)]


def history_entry(run: Run, outputs: Iterable[RunOutput]) -> dict[str, Any]:
    """A prompt that has ended, with its pictures; `warnings` are this gateway's own."""
    made = [output for output in outputs if output.node_id is not None]
    begun = {"prompt_id": run.id, "timestamp": _milliseconds(run.started_at)}
    messages = [["execution_start", begun], ["execution_cached", {"nodes": []} | begun]]
    succeeded = run.status == "success"
    return {
        "prompt": queue_entry(run),
        "outputs": {output.node_id: pictures(output) for output in made},
        "status": {
            "status_str": "success" if succeeded else "error",
            "completed": succeeded,
            "messages": [*messages, list(ending(run))],
        },
        "meta": {
            output.node_id: {
                "node_id": output.node_id,
                "display_node": output.node_id,
                "parent_node": None,
                "real_node_id": output.node_id,
            }
            for output in made
        },
        "warnings": msgspec.to_builtins(run.notes),
    }


def pictures(output: RunOutput) -> dict[str, Any]:
    """What an output node has made, by the names that `/view` knows."""
    kind = "temp" if output.node_class == TEMPORARY else "output"
    return {
        "images": [
            {"filename": picture_name(output.run_id, item.filename), "subfolder": "", "type": kind}
            for item in output.items
        ]
    }


def ending(run: Run) -> tuple[str, dict[str, Any]]:
    """How a run ended, as a message."""
    told: dict[str, Any] = {"prompt_id": run.id, "timestamp": _milliseconds(run.ended_at)}
    if run.status == "success":
        return "execution_success", told | {"warnings": msgspec.to_builtins(run.notes)}
    told |= {"node_id": "", "node_type": "", "executed": []}
    if run.status == "cancelled":
        return "execution_interrupted", told
    return "execution_error", told | {
        "exception_message": run.error or run.status,
        "exception_type": "TimeoutError" if run.status == "timeout" else "RuntimeError",
        "traceback": [],
        "current_inputs": {},
        "current_outputs": [],
    }


def queue_status(num_open: int) -> dict[str, Any]:
    """How many prompts have not ended."""
    return {"exec_info": {"queue_remaining": num_open}}


def _milliseconds(seconds: float | None) -> int:
    return int((seconds or 0.0) * 1000)
