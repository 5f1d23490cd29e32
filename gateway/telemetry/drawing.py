"""The spans of a job that is drawn: itself, and how each of its samples waits and goes on.

What happened when is told by the events, so that it does not matter where the engine is.
"""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, Status, StatusCode, Tracer

from gateway.job import Event, Failed, Finished, Job, StepDone

CANCELLED = "cancelled"
MAX_INTEGER = 2**63 - 1
"""Of an attribute; seeds go to twice that."""


def told(tracer: Tracer, job: Job, events: AsyncGenerator[Event]) -> AsyncGenerator[Event]:
    """A job's events, each noted as it comes; the job was handed in just now."""
    return _told(tracer, job, events, time.time_ns(), context.get_current())


async def _told(
    tracer: Tracer, job: Job, events: AsyncGenerator[Event], began: int, parent: Context
) -> AsyncGenerator[Event]:
    drawing = Drawing(tracer, job, began, parent)
    try:
        async with aclosing(events):
            async for event in events:
                drawing.note(event)
                yield event
    finally:
        drawing.end()


class Drawing:
    """One job; times are nanoseconds since the epoch."""

    def __init__(self, tracer: Tracer, job: Job, began: int, parent: Context) -> None:
        name = f"generate_content {job.model_id}"
        self._span = tracer.start_span(name, parent, attributes=_asked(job), start_time=began)
        self._has_failed = False
        inside = trace.set_span_in_context(self._span, parent)
        self._open = {
            number: Phases(tracer, inside, number, began) for number in range(len(job.seeds))
        }

    def note(self, event: Event) -> None:
        """Something has become known of a sample."""
        now = time.time_ns()
        match event:
            case StepDone() if phases := self._open.get(event.sample):
                phases.step(event, now)
            case Finished() if phases := self._open.pop(event.sample, None):
                phases.finish(event, now)
            case Failed() if phases := self._open.pop(event.sample, None):
                phases.fail(event, now)
                self._has_failed = True
                _fault(self._span, event.code, event.message)

    def end(self) -> None:
        """Nobody waits for more; what is open was cancelled."""
        now = time.time_ns()
        for phases in self._open.values():
            phases.end(now)
        if self._open and not self._has_failed:
            _fault(self._span, CANCELLED, CANCELLED)
        self._span.end(now)


class Phases:
    """One sample: in the `queue`, in its `steps`, in its `decode`, one after the other.

    When it was begun is reckoned back from the first that is heard of it: only differences of the
    engine's clock count, which may be another machine's.
    """

    def __init__(self, tracer: Tracer, inside: Context, number: int, handed_in: int) -> None:
        self._tracer = tracer
        self._inside = inside
        self._number = number
        self._last = handed_in
        self._began: int | None = None
        self._phase = self._opened("queue")

    def step(self, event: StepDone, now: int) -> None:
        """A step is done, and what follows the last one is begun."""
        at = self._time(event.seconds, now)
        self._phase.add_event("step", {"gateway.step": event.step}, at)
        if event.step == event.num_steps:
            self._go_on("decode", at)

    def finish(self, event: Finished, now: int) -> None:
        """There is a picture."""
        self.end(self._time(event.seconds, now))

    def fail(self, event: Failed, now: int) -> None:
        """There will be none."""
        at = self._time(event.seconds, now) if event.seconds else now
        _fault(self._phase, event.code, event.message)
        self.end(at)

    def end(self, at: int) -> None:
        """Whatever it was in is over."""
        self._phase.end(at)

    def _time(self, seconds: float, now: int) -> int:
        """When a sample had been begun for so long."""
        elapsed = int(seconds * 1e9)
        if self._began is None:
            self._began = max(self._last, now - elapsed)
            self._go_on("steps", self._began)
        self._last = min(now, max(self._last, self._began + elapsed))
        return self._last

    def _go_on(self, name: str, at: int) -> None:
        self._phase.end(at)
        self._last = at
        self._phase = self._opened(name)

    def _opened(self, name: str) -> Span:
        return self._tracer.start_span(
            name,
            self._inside,
            attributes={"gateway.sample": self._number},
            start_time=self._last,
        )


def _fault(span: Span, code: str, message: str) -> None:
    span.set_attribute("error.type", code)
    span.set_status(Status(StatusCode.ERROR, message))


def _asked(job: Job) -> dict[str, str | int | list[str]]:
    """What was asked for, by the convention where there is one; no prompt."""
    return {
        "gen_ai.operation.name": "generate_content",
        "gen_ai.output.type": "image",
        "gen_ai.provider.name": "image-gateway",
        "gen_ai.request.model": job.model_id,
        "gen_ai.request.seed": job.seeds[0] if job.seeds[0] <= MAX_INTEGER else str(job.seeds[0]),
        "gen_ai.request.choice.count": len(job.seeds),
        "gateway.job": job.id,
        "gateway.width": job.width,
        "gateway.height": job.height,
        "gateway.steps": job.num_inference_steps,
        "gateway.adapters": [f"{use.route}@{use.scale:g}" for use in job.adapters],
    }
