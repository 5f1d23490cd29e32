"""A job under way, from replica to replica, until each of its samples has ended."""

import asyncio
import time
from collections.abc import Iterable

from gateway.engine.turns import AskedSample
from gateway.errors import GatewayError
from gateway.job import Event, Failed, Finished, Job, Preview, StepDone


class OpenSample(AskedSample):
    """A sample that has not ended, as far as is told of it.

    `num_steps_done` are of the try under way; what was told of an earlier one is not told again.
    """

    def __init__(self, job: Job, number: int, arrival: int) -> None:
        super().__init__(job, number, arrival)
        self.num_steps_told = 0
        self.num_previews_told = 0

    @property
    def has_begun(self) -> bool:
        """Whether a replica has told of a step of it."""
        return self.num_steps_done > 0

    def is_new(self, event: Event) -> bool:
        """Note how far it is; whether that, or a preview, was not told before."""
        match event:
            case StepDone(step=step):
                self.num_steps_done = step
                was_told = step <= self.num_steps_told
                self.num_steps_told = max(step, self.num_steps_told)
            case Preview(index=index):
                was_told = index < self.num_previews_told
                self.num_previews_told = max(index + 1, self.num_previews_told)
            case _:
                was_told = False
        return not was_told


class Journey:
    """A job's samples that are `open`, by number, and what is told of them.

    `num_deaths` counts the replicas that ended while they drew it.
    """

    def __init__(self, job: Job, arrivals: Iterable[int]) -> None:
        numbered = zip(range(len(job.seeds)), arrivals, strict=False)
        self.job = job
        self.open = {number: OpenSample(job, number, arrival) for number, arrival in numbered}
        self.num_deaths = 0
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None

    @property
    def seconds_left(self) -> float | None:
        """Until its deadline, if it has one."""
        return None if self.job.deadline is None else self.job.deadline - time.monotonic()

    def left(self, numbers: Iterable[int]) -> tuple[int, ...]:
        """Those of some samples that have not ended."""
        return tuple(number for number in numbers if number in self.open)

    def go(self, task: "asyncio.Task[None]") -> None:
        """Be carried by a task, which ends with the journey."""
        self._task = task

    def take(self, event: Event) -> None:
        """Tell what a replica says, unless that was said before."""
        sample = self.open.get(event.sample)
        if sample is None or not sample.is_new(event):
            return
        if isinstance(event, Finished | Failed):
            del self.open[event.sample]
        self.events.put_nowait(event)

    def begin_again(self, numbers: Iterable[int]) -> None:
        """Samples are drawn from their first step, anew if they had begun elsewhere."""
        for number in self.left(numbers):
            self.open[number].num_steps_done = 0

    def fail(self, error: GatewayError) -> None:
        """End every sample that has not ended."""
        for number in tuple(self.open):
            code = error.code or "generation_failed"
            self.take(Failed(number, code, error.message, error.param))

    def end(self) -> None:
        """Nobody waits for it any more."""
        self.open.clear()
        if self._task is not None:
            self._task.cancel()

    def end_from_anywhere(self) -> None:
        """The same, for whichever thread finds that nobody waits."""
        if asyncio._get_running_loop() is self._loop:
            self.end()
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.end)
