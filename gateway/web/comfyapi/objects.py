"""Jobs, their outputs and assets as the Comfy API's clients read them."""

from typing import Any
from urllib.parse import urlsplit

import msgspec

from gateway.outages import patiently
from gateway.runs.listing import Listed
from gateway.runs.records import Item, Run, RunOutput, Status
from gateway.runs.runs import Runs
from gateway.runs.telling import iso
from gateway.web.comfyapi.faults import PREFIX
from gateway.web.comfyapi.story import Story
from gateway.web.door.asking import Asker

STATUSES: dict[Status, str] = {
    "not-started": "queued",
    "queued": "queued",
    "started": "running",
    "running": "running",
    "uploading": "running",
    "success": "succeeded",
    "failed": "failed",
    "timeout": "failed",
    "cancelled": "canceled",
}
TYPES = {"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp"}
DAY_SECONDS = 86400


class Asset(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was uploaded, or a picture that a job made."""

    id: str
    key: str
    name: str
    content_type: str
    size_bytes: int
    created_at: float
    hash: str | None = None
    job_id: str | None = None


async def asset_of(runs: Runs, asset_id: str, owner: str) -> Asset | None:
    """The asset of an id, if it is this owner's."""
    if (file := await runs.library.file_of_id(asset_id, owner)) is not None:
        return Asset(
            id=file.id,
            key=file.key,
            name=file.name,
            content_type=file.content_type,
            size_bytes=file.size_bytes,
            created_at=file.created_at,
            hash=file.hash,
        )
    run_id, _, name = asset_id.partition(".")
    run = await runs.get(run_id, owner)
    made = await made_by(runs, run) if run else []
    items = ((output, item) for output in made for item in output.items)
    return next((drawn_asset(*both) for both in items if both[1].filename == name), None)


def drawn_asset(output: RunOutput, item: Item) -> Asset:
    """A picture of a job; its id says which."""
    return Asset(
        id=f"{output.run_id}.{item.filename}",
        key=item.key,
        name=item.filename,
        content_type=TYPES[item.filename.rpartition(".")[2]],
        size_bytes=item.size_bytes,
        created_at=output.created_at,
        job_id=output.run_id,
    )


async def made_by(runs: Runs, run: Run) -> list[RunOutput]:
    """What a run has made, also while it goes on."""
    if run.has_ended:
        return await patiently(lambda: runs.outputs(run.id), "database")
    return Story.so_far(run, runs.performer.live).outputs


def asset_object(asset: Asset, runs: Runs, asker: Asker) -> dict[str, Any]:
    """An asset with a URL that whoever has it can read it at."""
    expires = expiry(runs, asset.created_at)
    return {
        "id": asset.id,
        "hash": asset.hash,
        "size_bytes": asset.size_bytes,
        "content_type": asset.content_type,
        "file_path": asset.name,
        "created_at": iso(asset.created_at),
        "url": asker.base_url + runs.files.path_of(asset.key),
        "url_expires_at": expires,
        "expires_at": expires,
        "job_id": asset.job_id,
    }


def output_objects(output: RunOutput, runs: Runs, asker: Asker) -> list[dict[str, Any]]:
    """The pictures of an output node."""
    found = []
    for item in output.items:
        told = asset_object(drawn_asset(output, item), runs, asker)
        kept = ("content_type", "size_bytes", "id", "hash", "url", "url_expires_at", "job_id")
        named = {"node_id": output.node_id or "", "name": item.filename, "type": "image"}
        found.append(named | {name: told[name] for name in kept})
    return found


async def job_object(runs: Runs, run: Run, asker: Asker) -> dict[str, Any]:
    """A job as it stands."""
    story = Story.so_far(run, runs.performer.live)
    made = await made_by(runs, run)
    order, link = run.order, link_to(run.id, asker)
    return {
        "id": run.id,
        "status": STATUSES[run.status],
        "created_at": iso(run.created_at),
        "started_at": iso(run.started_at),
        "completed_at": iso(run.ended_at),
        "expires_at": expiry(runs, run.ended_at or run.created_at),
        "queue_position": await runs.num_ahead(run) if run.status == "queued" else None,
        "progress": None if run.status == "queued" else story.progress(),
        "outputs": [told for output in made for told in output_objects(output, runs, asker)],
        "error": error_of(run, made),
        "metrics": {
            "queue_ms": _milliseconds(run.queued_at, run.started_at),
            "execution_ms": _milliseconds(run.started_at, run.ended_at),
        },
        "metadata": order.labels,
        "warnings": msgspec.to_builtins(run.notes),
        "urls": {"self": link, "events": f"{link}/events", "cancel": f"{link}/cancel"},
    }


def listed_object(run: Listed, asker: Asker) -> dict[str, Any]:
    """A job as lists show it."""
    return {
        "id": run.id,
        "status": STATUSES[run.status],
        "create_time": iso(run.created_at),
        "update_time": iso(run.updated_at),
        "created_at": iso(run.created_at),
        "started_at": iso(run.started_at),
        "completed_at": iso(run.ended_at),
        "deployment_id": None,
        "metadata": run.labels,
        "urls": {"self": link_to(run.id, asker)},
    }


def error_of(run: Run, made: list[RunOutput]) -> dict[str, Any] | None:
    """Why a job did not end well."""
    if run.status not in ("failed", "timeout"):
        return None
    refusal = next((output.refusal for output in made if output.refusal), "")
    code = "deadline_exceeded" if run.status == "timeout" else refusal or "node_execution_error"
    return {
        "code": code,
        "message": run.error or run.status,
        "node_id": None,
        "class_type": None,
        "traceback": None,
    }


def expiry(runs: Runs, since: float) -> str | None:
    """When what is there since then will be forgotten."""
    return iso(since + runs.settings.run_days * DAY_SECONDS)


def link_to(run_id: str, asker: Asker) -> str:
    """A job's path from the host's root: clients ask the host that they know."""
    return f"{urlsplit(asker.base_url).path}{PREFIX}/jobs/{run_id}"


def _milliseconds(start: float | None, end: float | None) -> int | None:
    return None if start is None or end is None else round((end - start) * 1000)
