"""One picture in progress: it carries all of its own state.

The engine's thread alone writes a sample, but for `is_cancelled`, which any thread may set.
"""

import time
from collections.abc import Callable
from typing import Any

import greenlet

from gateway.engine import call
from gateway.engine.parking import ParkedCall, SampleGreenlet
from gateway.engine.previews import Watched, decoding, preview_steps, unscaled
from gateway.errors import Cancelled, DeadlineExceeded, GatewayError, OutOfMemory
from gateway.job import Event, Failed, Finished, Job, Preview, StepDone

Emit = Callable[[Event], None]


class Sample:
    """Sample number `number` of a job; `arrival` counts samples up over the engine's life."""

    def __init__(self, job: Job, number: int, arrival: int, emit: Emit) -> None:
        self.job = job
        self.number = number
        self.arrival = arrival
        self.emit = emit
        self.is_cancelled = False
        self.is_done = False
        self.parked: ParkedCall | None = None
        self.num_steps_done = 0
        self.result: Any = None
        self._greenlet: SampleGreenlet | None = None
        self._answer: Any = None
        self._fault: BaseException | None = None

    @property
    def endpoint(self) -> str:
        """The endpoint it runs on."""
        return self.job.endpoint

    @property
    def owner(self) -> str:
        """Whose it is."""
        return self.job.owner

    @property
    def is_batch(self) -> bool:
        """Whether interactive samples go before it."""
        return self.job.priority == "batch"

    @property
    def is_late(self) -> bool:
        """Whether its deadline has passed."""
        return self.job.deadline is not None and time.time() > self.job.deadline

    @property
    def is_running(self) -> bool:
        """Whether its pipeline has begun and not ended."""
        return self._greenlet is not None and not self.is_done

    def start(self, pipeline: Any, base: Any) -> None:
        """Begin on a pipeline; `base` is the text-to-image pipeline, which decodes previews."""
        self._greenlet = SampleGreenlet(lambda: self._draw(pipeline, base))
        self._resume()

    def answer(self, result: Any) -> None:
        """Give the parked call its result; `go_on` resumes the pipeline with it."""
        self.parked, self._answer = None, result

    def fail(self, error: BaseException) -> None:
        """Have the parked call raise in the pipeline."""
        self.parked, self._fault = None, error

    def go_on(self) -> None:
        """Run until the next model call, or the end."""
        if self.is_cancelled or self.is_late:
            self._fault = self.reason()
        self._resume()

    def reason(self) -> GatewayError:
        """Why it is to be ended."""
        if self.is_cancelled:
            return Cancelled("The request was cancelled.")
        return DeadlineExceeded("The request's deadline passed.")

    def refuse(self, error: BaseException) -> None:
        """End it before it began, or wherever it is."""
        if self._greenlet is not None and not self._greenlet.dead:
            self._fault = error
            self._resume()
        if not self.is_done:
            self._end(_failure(self.number, error))

    def _resume(self) -> None:
        assert self._greenlet is not None
        answer, fault = self._answer, self._fault
        self._answer = self._fault = None
        self._greenlet.parent = greenlet.getcurrent()
        try:
            if fault is not None:
                parked = self._greenlet.throw(fault)
            else:
                parked = self._greenlet.switch(*((answer,) if self._greenlet else ()))
        except Exception as error:
            self.result = error
            self._end(_failure(self.number, error))
            return
        if isinstance(parked, ParkedCall):
            self.parked = parked

    def _draw(self, pipeline: Any, base: Any) -> None:
        own = call.prepare(pipeline, self.job)
        watched: Watched | None = None
        previews = preview_steps(self.job.num_inference_steps, self.job.num_previews)

        def on_step(_pipe: Any, _index: int, _timestep: Any, state: dict[str, Any]) -> Any:
            self.num_steps_done += 1
            step, total = self.num_steps_done, self.job.num_inference_steps
            self.emit(StepDone(self.number, min(step, total), total))
            if watched and step in previews:
                self._preview(base, watched, state.get("latents"), previews.index(step))
            return state

        if "callback_on_step_end" not in call.known_arguments(own):
            watched = Watched(own.scheduler, lambda new: on_step(own, 0, None, {"latents": new}))
        elif previews:
            watched = Watched(own.scheduler)
        seed = self.job.seeds[self.number]
        result = own(**call.arguments(own, self.job, seed, on_step))
        self.result = call.first_image(result)
        scheduler = type(getattr(own, "scheduler", None)).__name__
        self._end(Finished(self.number, call.to_pixels(self.result), scheduler))

    def _preview(self, base: Any, watched: Watched, latents: Any, index: int) -> None:
        latents = watched.predicted if watched.predicted is not None else latents
        own = decoding(call.prepare(base, self.job))
        given = call.arguments(own, self.job, 0, lambda _pipe, _index, _timestep, state: state)
        if latents is None or "latents" not in call.known_arguments(own):
            return
        given["latents"] = unscaled(latents, own.scheduler)
        image = call.first_image(own(**given))
        self.emit(Preview(self.number, index, call.to_pixels(image)))

    def _end(self, event: Event) -> None:
        if not self.is_done:
            self.is_done, self.parked = True, None
            self.emit(event)


def _failure(number: int, error: BaseException) -> Failed:
    if isinstance(error, GatewayError):
        return Failed(number, error.code or "generation_failed", error.message)
    if is_out_of_memory(error):
        return Failed(number, str(OutOfMemory.code), "The device has too little memory for this.")
    return Failed(number, "generation_failed", "The pipeline failed on this request.")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a forward failed for want of memory, on whatever device."""
    name = type(error).__name__
    return name == "OutOfMemoryError" or isinstance(error, MemoryError)
