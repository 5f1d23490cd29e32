"""Where the pictures of one request come from, for whoever asks."""

from gateway.images.objects import Stored
from gateway.runs.runs import Runs
from gateway.web.door.bodies.bodies import Asked
from gateway.web.door.bodies.uploads import Sources
from gateway.web.door.desk import Desk


def sources_of(desk: Desk, request: Asked, owner: str) -> Sources:
    """An owner's own files, the URLs that this gateway gave out, and others if they are fetched."""
    runs: Runs = request.app.state.runs

    async def open_file(file_id: str) -> Stored:
        return await runs.batches.open(await runs.batches.file(file_id, owner))

    async def fetch(url: str, max_bytes: int) -> bytes:
        return await desk.outbound.fetch(url, owner, max_bytes=max_bytes)

    fetches = fetch if desk.settings.fetch_urls else None
    return Sources(fetches, desk.darkroom, open_file, runs.signed.open)
