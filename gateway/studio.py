"""A job drawn: the engine's events turned into encoded pictures, each with its receipt."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import Any, Literal, TypeVar

import msgspec

from gateway.catalog.catalog import Catalog
from gateway.catalog.collection import Collection
from gateway.engine.protocol import Engine
from gateway.images.darkroom import Darkroom
from gateway.images.encode import encode, resample
from gateway.images.matting import cut_out
from gateway.images.receipt import Receipt, receipt_of, receipt_text
from gateway.job import Failed, Finished, Job, Pixels, Preview, StepDone
from gateway.remarks import Remark, once
from gateway.settings import Settings
from gateway.telemetry import traces
from gateway.telemetry.metrics import ENCODE_SECONDS

T = TypeVar("T")
Format = Literal["png", "jpeg", "webp", "raw"]


class Rendering(msgspec.Struct, frozen=True):
    """How pixels become bytes; `quality` in [0, 100] matters to jpeg and webp."""

    format: Format = "png"
    quality: int = 95
    previews: Format = "jpeg"


class Picture(msgspec.Struct, frozen=True):
    """A finished sample; `data` is the encoded file, or bare `[height, width, channels]` if raw.

    `num_tokens` are those of its texts, as the pipeline's tokenizers read them.
    """

    sample: int
    seed: int
    data: bytes
    format: Format
    width: int
    height: int
    channels: int
    receipt: Receipt
    remarks: tuple[Remark, ...] = ()
    num_tokens: int | None = None


class PreviewPicture(msgspec.Struct, frozen=True):
    """An encoded intermediate picture, number `index` of its sample."""

    sample: int
    index: int
    data: bytes
    format: Format


class Studio:
    """Draws jobs; the one place where engine, encoder and receipts meet."""

    def __init__(self, engine: Engine, collection: Collection, settings: Settings) -> None:
        self.engine = engine
        self.collection = collection
        self.settings = settings
        self.darkroom = Darkroom(settings)
        self._encoders = ThreadPoolExecutor(max_workers=2, thread_name_prefix="encode")

    @property
    def catalog(self) -> Catalog:
        """What can be asked for now."""
        return self.collection.now()

    async def draw(
        self, job: Job, rendering: Rendering
    ) -> AsyncGenerator[Picture | PreviewPicture | StepDone]:
        """Yield steps, previews and pictures as they come; closing it cancels the job.

        Raises:
            Overloaded: before the first yield, when the engine's door is full.
            GatewayError: a sample failed; the others are cancelled.
        """
        async with aclosing(traces.told(job, self.engine.submit(job))) as events:
            async for event in events:
                match event:
                    case Failed():
                        raise event.error()
                    case Finished():
                        yield await self._picture(job, event, rendering)
                    case Preview():
                        yield await self._preview(job, event, rendering)
                    case StepDone():
                        yield event

    def close(self) -> None:
        """Let the threads go."""
        self.darkroom.close()
        self._encoders.shutdown(wait=False, cancel_futures=True)

    async def _picture(self, job: Job, event: Finished, rendering: Rendering) -> Picture:
        receipt = receipt_of(job, event)
        text = receipt_text(receipt) if self.settings.receipts else {}
        with traces.span("encode", sample=event.sample, format=rendering.format):
            shown = traces.exemplar()
            pixels, data = await self._encoded(
                _render, event.pixels, job, rendering, text, shown
            )
        return Picture(
            sample=event.sample,
            seed=job.seeds[event.sample],
            data=data,
            format=rendering.format,
            width=pixels.width,
            height=pixels.height,
            channels=pixels.channels,
            receipt=receipt,
            remarks=once((*job.remarks, *event.remarks)),
            num_tokens=event.num_tokens,
        )

    async def _preview(self, job: Job, event: Preview, rendering: Rendering) -> PreviewPicture:
        still = Rendering(rendering.previews, rendering.quality)
        _, data = await self._encoded(_render, event.pixels, job, still, {})
        return PreviewPicture(event.sample, event.index, data, still.format)

    async def _encoded(self, work: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._encoders, work, *arguments)


def _render(
    pixels: Pixels,
    job: Job,
    rendering: Rendering,
    text: dict[str, str],
    exemplar: dict[str, str] | None = None,
) -> tuple[Pixels, bytes]:
    if job.matting:
        pixels = cut_out(pixels)
    if job.output_size and job.output_size != (pixels.width, pixels.height):
        pixels = resample(pixels, job.output_size)
    if rendering.format == "raw":
        return pixels, pixels.data
    began = time.perf_counter()
    data = encode(pixels, rendering.format, quality=rendering.quality, text=text)
    ENCODE_SECONDS.labels(rendering.format).observe(time.perf_counter() - began, exemplar)
    return pixels, data
