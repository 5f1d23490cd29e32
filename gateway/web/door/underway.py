"""What is being drawn right now, by whose request: how far it is, and a way to stop it early."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from gateway.job import Job, StepDone
from gateway.studio import Picture, PreviewPicture


class Drawing:
    """One job on its way; `pictures` are those that are finished."""

    def __init__(self, job: Job, path: str) -> None:
        self.job = job
        self.path = path
        self.began = time.monotonic()
        self.pictures: list[Picture] = []
        self.is_stopped = False
        self._steps: dict[int, int] = {}
        self._task = asyncio.current_task()

    @property
    def step(self) -> int:
        """Steps done of the picture that is furthest behind."""
        return min((self._steps.get(sample, 0) for sample in range(len(self.job.seeds))), default=0)

    @property
    def progress(self) -> float:
        """How much of all its steps is done, in [0, 1]."""
        whole = len(self.job.seeds) * self.job.num_inference_steps
        return min(1.0, sum(self._steps.values()) / whole)

    @property
    def seconds(self) -> float:
        """Since it was begun."""
        return time.monotonic() - self.began

    def stop(self) -> None:
        """Draw no more of it; what is finished is its answer."""
        if not self.is_stopped and self._task is not None:
            self.is_stopped = True
            self._task.cancel()

    async def watch(
        self, drawn: AsyncIterator[Picture | PreviewPicture | StepDone]
    ) -> list[Picture]:
        """Every picture in order, or those that there are when it is stopped."""
        try:
            async for item in drawn:
                if isinstance(item, StepDone):
                    self._steps[item.sample] = item.step
                elif isinstance(item, Picture):
                    self.pictures.append(item)
        except asyncio.CancelledError:
            if not self.is_stopped:
                raise
            assert self._task is not None
            self._task.uncancel()
        return sorted(self.pictures, key=lambda picture: picture.sample)


class UnderWay:
    """All of a process's."""

    def __init__(self) -> None:
        self._drawings: list[Drawing] = []

    @contextmanager
    def begun(self, job: Job, path: str) -> Iterator[Drawing]:
        """A job that the current task draws, for as long as the block lasts."""
        drawing = Drawing(job, path)
        self._drawings.append(drawing)
        try:
            yield drawing
        finally:
            self._drawings.remove(drawing)

    def of(self, owner: str, prefix: str) -> list[Drawing]:
        """An owner's, of requests whose path begins so; the oldest first."""
        return [
            one
            for one in self._drawings
            if one.job.owner == owner and one.path.startswith(prefix)
        ]
