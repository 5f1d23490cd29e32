"""Runs and their outputs as JSON objects, the same in answers, streams and webhooks."""

from datetime import UTC, datetime
from typing import Any

from gateway.runs.files import FileStore
from gateway.runs.records import Item, RunOutput, WebhookEvent


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


def webhook_body(event: WebhookEvent, base_url: str, files: FileStore) -> dict[str, Any]:
    """What a webhook is told."""
    return {
        "event_type": event.kind,
        "status": event.status,
        "live_status": event.live_status,
        "progress": round(event.progress, 2),
        "run_id": event.run_id,
        "outputs": [output_object(output, base_url, files) for output in event.outputs],
    }
