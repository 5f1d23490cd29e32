"""Runs and their outputs as JSON objects, the same in answers, streams and webhooks."""

from datetime import UTC, datetime
from typing import Any

import msgspec

from gateway.runs.library.files import FileStore
from gateway.runs.records import Item, Run, RunOutput, WebhookEvent


def iso(seconds: float | None) -> str | None:
    """A time as the strictest SDK parses it: milliseconds and a Z."""
    if seconds is None:
        return None
    at = datetime.fromtimestamp(seconds, UTC)
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


def media_item(item: Item, base_url: str, files: FileStore) -> dict[str, Any]:
    """A picture's place; beside ComfyUI's keys, the seed that draws it again."""
    return {
        "url": base_url + files.path_of(item.key),
        "type": "output",
        "filename": item.filename,
        "subfolder": "",
        "is_public": True,
        "upload_duration": round(item.seconds, 3),
        "seed": item.seed,
        "width": item.width,
        "height": item.height,
    }


def output_object(output: RunOutput, base_url: str, files: FileStore) -> dict[str, Any]:
    """An output node's pictures, or why there are none."""
    if output.errors:
        data: dict[str, Any] = {"error": list(output.errors)}
    else:
        data = {"images": [media_item(item, base_url, files) for item in output.items]}
    meta = {"node_id": output.node_id, "node_class": output.node_class}
    return {
        "id": output.id,
        "run_id": output.run_id,
        "output_id": output.output_id,
        "data": data,
        "node_meta": meta if output.node_id else None,
        "type": None,
        "node_id": output.node_id,
        "created_at": iso(output.created_at),
        "updated_at": iso(output.created_at),
    }


def run_object(
    run: Run, outputs: list[dict[str, Any]], webhook_status: str | None, position: int | None
) -> dict[str, Any]:
    """A run in the one form that every generation of SDKs parses."""
    order = run.order
    return {
        "id": run.id,
        "workflow_id": order.workflow_id or order.model_id or run.id,
        "workflow_version_id": order.workflow_version_id,
        "workflow_inputs": order.inputs,
        "workflow_api": order.graph or {},
        "machine_id": order.machine_id,
        "machine_type": "classic",
        "machine_version": None,
        "origin": order.origin,
        "status": run.status,
        "live_status": run.live_status,
        "progress": round(run.progress, 2),
        "created_at": iso(run.created_at),
        "updated_at": iso(run.updated_at),
        "queued_at": iso(run.queued_at),
        "started_at": iso(run.started_at),
        "ended_at": iso(run.ended_at),
        "gpu": order.gpu,
        "gpu_event_id": order.gpu_event_id,
        "modal_function_call_id": None,
        "user_id": run.owner,
        "org_id": None,
        "is_realtime": False,
        "is_native_run": order.is_native_run,
        "webhook": order.webhook,
        "webhook_status": webhook_status,
        "webhook_intermediate_status": order.webhook_intermediate_status,
        "batch_id": run.batch_id,
        "model_id": order.model_id,
        "deployment_id": order.deployment_id,
        "favorite": False,
        "run_log": {
            "notes": [note.message for note in run.notes],
            "warnings": msgspec.to_builtins(run.notes),
            "error": run.error,
        },
        "number": run.number,
        "duration": _between(run.created_at, run.ended_at),
        "cold_start_duration": _between(run.queued_at, run.started_at),
        "cold_start_duration_total": _between(run.created_at, run.started_at),
        "run_duration": _between(run.started_at, run.ended_at),
        "queue_position": position,
        "outputs": outputs,
    }


def _between(start: float | None, end: float | None) -> float | None:
    """Seconds from one time to another, once both are known."""
    return None if start is None or end is None else round(end - start, 3)


def webhook_body(event: WebhookEvent, base_url: str, files: FileStore) -> dict[str, Any]:
    """What a webhook is told."""
    return {
        "event_type": event.kind,
        "status": event.status,
        "live_status": event.live_status,
        "progress": round(event.progress, 2),
        "run_id": event.run_id,
        "outputs": [output_object(output, base_url, files) for output in event.outputs],
        "warnings": msgspec.to_builtins(event.notes),
    }
