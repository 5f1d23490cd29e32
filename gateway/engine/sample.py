"""One picture in progress: it carries all of its own state.

The engine's thread alone writes a sample, but for `is_cancelled`, which any thread may set.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from typing import Any, NamedTuple

import greenlet
import structlog
from torch import Tensor

from gateway.engine.adapters.adapters import Uses
from gateway.engine.pipelines import call
from gateway.engine.pipelines.hearing import Hearing
from gateway.engine.pipelines.merge import tensors_of
from gateway.engine.pipelines.parking import Memory, ParkedCall, SampleGreenlet
from gateway.engine.pipelines.pixels import deliver, first_image
from gateway.engine.pipelines.previews import answering, preview_steps, watched
from gateway.engine.pipelines.reading import Reading
from gateway.engine.pipelines.shared import MustBeAloneError
from gateway.engine.turns import AskedSample
from gateway.errors import (
    FAILURES,
    Cancelled,
    DeadlineExceeded,
    GatewayError,
    NotFinite,
    OutOfMemory,
)
from gateway.job import Event, Failed, Finished, Job, Pixels, Preview, Promise, StepDone
from gateway.remarks import Remark
from gateway.telemetry.metrics import SAMPLES_FAILED, from_zero

Emit = Callable[[Event], None]
Follow = Callable[[Callable[[], None]], None]

log = structlog.get_logger()
from_zero(SAMPLES_FAILED, FAILURES)


class Material(NamedTuple):
    """What a sample is drawn with, to its end: whatever happens to the files meanwhile.

    `uses` names adapters as they are in memory; `digests` are of the weights, by model id;
    `promise` is how much of the picture whoever shares its forwards may change; `preview_parts`
    are in the place of the pipeline's own where a preview is decoded.
    """

    pipeline: Any
    uses: Uses = ()
    digests: Mapping[str, str | None] = {}
    promise: Promise = "near"
    preview_parts: Mapping[str, Any] = {}


class Sample(AskedSample):
    """One that goes through its pipeline here.

    `must_be_alone` says that it has to begin again with nobody beside it.
    `image` is its picture in floating point, `[channels, height, width]` in [0, 1];
    `fault` what ended it instead; `uses` are its adapters. It waits for a `parked` call or
    for a `reading`; `num_calls` have been answered, and from the next it has been `held_since`.
    """

    def __init__(self, job: Job, number: int, arrival: int, emit: Emit) -> None:
        super().__init__(job, number, arrival)
        self.emit = emit
        self.is_cancelled = False
        self.must_be_alone = False
        self.is_done = False
        self.parked: ParkedCall | None = None
        self.reading: Reading | None = None
        self.num_calls = 0
        self.held_since: float | None = None
        self._num_steps_told = 0
        self._began: float | None = None
        self.image: Any = None
        self.fault: Exception | None = None
        self.uses: Uses = ()
        self._greenlet: SampleGreenlet | None = None
        self._follow: Follow = _at_once
        self._answer: Any = None
        self._thrown: Exception | None = None

    @property
    def has_begun(self) -> bool:
        """Whether its pipeline runs."""
        return self._greenlet is not None

    @property
    def is_unwanted(self) -> bool:
        """Whether nobody waits for it any more."""
        return self.is_cancelled or self._is_late

    @property
    def goes_beside(self) -> bool:
        """Whether its parked call is a decoding, for which no denoising has to wait.

        Recorded ones have one memory with all else that is recorded.
        """
        entry = self.parked.entry if self.parked else None
        return entry is not None and entry.is_last and entry.lane != "graphs"

    @property
    def brings(self) -> Iterator[Tensor]:
        """The tensors of its parked call."""
        assert self.parked is not None
        return tensors_of((self.parked.args, self.parked.kwargs))

    @property
    def seconds(self) -> float:
        """Since it was begun, 0 where it was not."""
        return 0.0 if self._began is None else time.monotonic() - self._began

    @property
    def has_fault(self) -> bool:
        """Whether its parked call failed."""
        return self._thrown is not None

    @property
    def _is_late(self) -> bool:
        return self.job.deadline is not None and time.monotonic() > self.job.deadline

    def start(self, material: Material, follow: Follow, *, alone: bool = False) -> None:
        """Begin on a pipeline and adapters that others share, unless it is `alone` there.

        What it tells from then on follows the device.
        """
        self._follow, self._began = follow, time.monotonic()
        self.must_be_alone, self.num_steps_done, self.num_calls = False, 0, 0
        self.uses = material.uses
        self._greenlet = SampleGreenlet(lambda: self._draw(material))
        self._greenlet.is_alone = alone
        self._greenlet.seed = self.job.seeds[self.number]
        self._greenlet.hearing = Hearing(self.job)
        if self.job.num_previews:
            self._greenlet.memory = Memory()
        self._resume()

    def answer(self, result: Any) -> None:
        """Give the parked call its result; `go_on` resumes the pipeline with it."""
        self.parked, self.held_since, self._answer = None, None, result
        self.num_calls += 1

    def fail(self, error: Exception) -> None:
        """Have the parked call raise in the pipeline."""
        self.parked, self._thrown = None, error

    def go_on(self) -> None:
        """Run until the next model call, or the end."""
        self._resume()

    def reason(self) -> GatewayError:
        """Why it is unwanted."""
        if self.is_cancelled:
            return Cancelled("The request was cancelled.")
        return DeadlineExceeded("The request's deadline passed.")

    def refuse(self, error: Exception) -> None:
        """End it before it began, or wherever it is."""
        if self._greenlet is not None and not self._greenlet.dead:
            self.fail(error)
            self._resume()
        self._end(error)

    def _resume(self) -> None:
        assert self._greenlet is not None
        answer, thrown = self._answer, self._thrown
        self._answer = self._thrown = None
        self._greenlet.parent = greenlet.getcurrent()
        try:
            if thrown is not None:
                parked = self._greenlet.throw(thrown)
            else:
                parked = self._greenlet.switch(*((answer,) if self._greenlet else ()))
        except MustBeAloneError:
            self.must_be_alone = True
            return
        except Exception as error:
            self._greenlet.take_back()
            self._end(error)
            return
        if isinstance(parked, ParkedCall):
            self.parked = parked
        elif isinstance(parked, Reading):
            self.reading = parked
        else:
            self._greenlet.take_back()

    def _draw(self, material: Material) -> None:
        pipeline = material.pipeline
        own = call.prepare(pipeline, self.job)
        previews = preview_steps(self.job.num_inference_steps, self.job.num_previews)

        def after_step(predicted: Any) -> None:
            self._note_step(self.num_steps_done + 1)
            if self.num_steps_done in previews and predicted is not None:
                self._preview(material, predicted, previews.index(self.num_steps_done))

        scheduler = getattr(own, "scheduler", None)
        watching = watched(scheduler, after_step, predicts=bool(previews))
        with nullcontext() if scheduler is None else watching:
            result = own(**call.arguments(own, self.job, self.job.seeds[self.number]))
        self.image = first_image(result)
        if self.num_steps_done < self.job.num_inference_steps:
            self._note_step(self.job.num_inference_steps)
        assert self._greenlet is not None
        assert self._greenlet.hearing is not None
        window = call.window(type(own), self.job.arguments)
        remarks = (*call.unused(own, self.job), *self._greenlet.hearing.remarks(window))
        self._finish(type(scheduler).__name__, remarks, material)

    def _note_step(self, step: int) -> None:
        total = self.job.num_inference_steps
        self.num_steps_done = min(step, total)
        if self._num_steps_told < step <= total:
            self._num_steps_told = step
            self._tell(lambda: StepDone(self.number, step, total, self.seconds))

    def _preview(self, material: Material, predicted: Any, index: int) -> None:
        """Decode what the model predicts, by the pipeline's own way from latents to picture.

        Its own decoder does it where another that it was given cannot.
        """
        tries = [*filter(None, [material.preview_parts]), {}]
        decoded = (self._foreseen(material.pipeline, parts, predicted) for parts in tries)
        result = next((one for one in decoded if one is not None), None)
        if result is None:
            return

        def told(pixels: Pixels | None) -> None:
            if pixels is not None:
                self.emit(Preview(self.number, index, pixels))

        deliver(first_image(result), told, self._follow)

    def _foreseen(self, pipeline: Any, parts: Mapping[str, Any], predicted: Any) -> Any:
        """What the pipeline's call returns of predicted latents; None where it fails on them."""
        assert self._greenlet is not None
        assert self._greenlet.memory is not None
        twin = call.prepare(pipeline, self.job)
        vars(twin).update(parts)
        with self._greenlet.memory.recalled(), answering(twin.scheduler, predicted):
            try:
                return twin(**call.arguments(twin, self.job, self.job.seeds[self.number]))
            except GatewayError:
                raise
            except Exception as error:
                log.warning("preview failed", job=self.job.id, exc_info=error)
                return None

    def _finish(self, scheduler: str, remarks: tuple[Remark, ...], material: Material) -> None:
        digests, promise = dict(material.digests), material.promise
        assert self._greenlet is not None
        assert self._greenlet.hearing is not None
        num_tokens = self._greenlet.hearing.num_tokens

        def told(pixels: Pixels | None) -> None:
            if pixels is not None:
                made = (self.number, pixels, scheduler, remarks, digests, promise, num_tokens)
                self.emit(Finished(*made, seconds=self.seconds))
                return
            log.error("picture not finite", job=self.job.id, endpoint=self.endpoint)
            self.emit(self._failure(NotFinite(NOT_FINITE)))

        self.is_done, self.parked = True, None
        deliver(self.image, told, self._follow)

    def _end(self, error: Exception) -> None:
        if not self.is_done:
            self.is_done, self.parked, self.fault = True, None, error
            self._tell(lambda: self._failure(error))

    def _failure(self, error: Exception) -> Failed:
        code, message, param = _told_of(error)
        SAMPLES_FAILED.labels(code).inc()
        return Failed(self.number, code, message, param, self.seconds)

    def _tell(self, event: Callable[[], Event]) -> None:
        """Make an event once the device has come so far, and have it known."""
        self._follow(lambda: self.emit(event()))


def _at_once(then: Callable[[], None]) -> None:
    then()


NOT_FINITE = (
    "The model computed numbers that are not finite, which are no picture. Its weights, an "
    "adapter's scale or the guidance are beyond what its precision holds."
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a forward failed for want of memory, on whatever device."""
    is_on_host = isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    return is_on_host or isinstance(error, MemoryError) or type(error).__name__ == OUT_OF_MEMORY


OUT_OF_MEMORY = "OutOfMemoryError"
"""torch's own, of every accelerator."""


def _told_of(error: Exception) -> tuple[str, str, str | None]:
    """What is said of a fault: its code, its message and the field that it is of."""
    if isinstance(error, GatewayError):
        return error.code or "generation_failed", error.message, error.param
    if is_out_of_memory(error):
        return str(OutOfMemory.code), "The device has too little memory for this.", None
    return "generation_failed", "The pipeline failed on this request.", None
