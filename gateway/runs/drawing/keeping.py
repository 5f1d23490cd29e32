"""Pictures of output nodes: encoded, and kept under names that drawing them again repeats."""

import asyncio
import re
import time
import uuid
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import cast

from gateway.images.decode import to_pixels
from gateway.images.encode import Format, encode
from gateway.outages import PATIENCE_SECONDS, patiently
from gateway.runs.drawing.album import Frame
from gateway.runs.graph.values import Output
from gateway.runs.library.files import FileStore
from gateway.runs.records import Item, RunOutput
from gateway.telemetry import traces

_EXTENSIONS = {"png": "png", "jpeg": "jpg", "jpg": "jpg", "webp": "webp"}


class Keeper:
    """Encodes and keeps pictures in a few threads of its own."""

    def __init__(self, files: FileStore) -> None:
        self.files = files
        self._encoders = ThreadPoolExecutor(max_workers=2, thread_name_prefix="runs-encode")

    async def keep(
        self, run_id: str, output: Output, frames: AsyncIterator[Frame], counters: dict[str, int]
    ) -> RunOutput:
        """Keep an output node's pictures; `counters` number the files of each prefix."""
        items = []
        async for frame in frames:
            prefix = _safe(output.prefix)
            counters[prefix] = counters.get(prefix, 0) + 1
            name = f"{prefix}_{counters[prefix]:05d}_.{_EXTENSIONS[output.file_type]}"
            items.append(await self._keep(f"runs/{run_id}/{name}", output, frame))
        return RunOutput(
            id=output_id(run_id, output.node_id),
            run_id=run_id,
            node_id=output.node_id,
            node_class=output.class_type,
            output_id=output.output_id,
            created_at=time.time(),
            items=tuple(items),
        )

    async def _keep(self, key: str, output: Output, frame: Frame) -> Item:
        started = time.monotonic()
        loop = asyncio.get_running_loop()
        with traces.span("encode", format=output.file_type):
            data = await loop.run_in_executor(self._encoders, _encoded, output, frame)
        with traces.span("store", bytes=len(data)):
            await patiently(lambda: self.files.put(key, data), "store", seconds=PATIENCE_SECONDS)
        return Item(
            key=key,
            filename=key.rpartition("/")[2],
            seed=frame.seed,
            width=frame.picture.width,
            height=frame.picture.height,
            seconds=time.monotonic() - started,
            size_bytes=len(data),
        )

    def close(self) -> None:
        """Let the threads go."""
        self._encoders.shutdown(wait=False, cancel_futures=True)


def output_id(run_id: str, node_id: str) -> str:
    """The same for the same node of the same run, however often it is drawn."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{run_id}/{node_id}"))


def failure(run_id: str, message: str, refusal: str) -> RunOutput:
    """The one output of a run that has no pictures: why, and the code of a client's fault."""
    return RunOutput(
        id=output_id(run_id, "error"),
        run_id=run_id,
        node_id=None,
        node_class=None,
        output_id=None,
        created_at=time.time(),
        errors=(message,),
        refusal=refusal,
    )


def _encoded(output: Output, frame: Frame) -> bytes:
    format = cast(Format, "jpeg" if output.file_type == "jpg" else output.file_type)
    return encode(to_pixels(frame.picture), format, quality=output.quality, text=frame.text)


def _safe(prefix: str) -> str:
    """A file name's beginning that stays in its run's folder."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", prefix).strip("._")[:100] or "ComfyUI"
