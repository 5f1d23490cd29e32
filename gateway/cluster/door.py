"""Who is let in: the doors of all replicas as one, at the front, before anything travels."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple, get_args

from gateway.accounts.admission import Asker, Door
from gateway.cluster.journey import OpenSample
from gateway.engine.forecast import leaving, seconds_to_finish
from gateway.engine.turns import Pace
from gateway.errors import Overloaded
from gateway.job import Job, Priority
from gateway.settings import Settings


class Shared(Pace):
    """The pace of one replica, among so many that do the same work together."""

    def __init__(self, pace: Pace, num_replicas: int) -> None:
        super().__init__()
        self._pace = pace
        self._num_replicas = num_replicas

    def sample_seconds(self, steps: int) -> float:
        """Until the replicas together have done a sample's worth of work."""
        return self._pace.sample_seconds(steps) / self._num_replicas

    def turn_seconds(self, pixels: float) -> float:
        """A turn, to which each replica's part of the pixels comes."""
        return self._pace.turn_seconds(pixels / self._num_replicas)


class Means(NamedTuple):
    """What there is to draw a job with: replicas, samples at once on each, and their pace."""

    num_replicas: int
    max_batch: int
    pace_of: Callable[[str], Pace]


class FrontDoor:
    """Has as many places for people, and for batches, as the doors of that many replicas."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._doors = {priority: Door(1) for priority in get_args(Priority)}

    def check(
        self,
        job: Job,
        samples: Sequence[OpenSample],
        inside: Sequence[OpenSample],
        means: Means,
    ) -> None:
        """Let a job's samples in beside those inside, which came in this order.

        Raises:
            Overloaded: with the seconds after which there should be room.
        """
        number, settings, door = means.num_replicas, self._settings, self._doors[job.priority]
        num_running, num_waiting = number * settings.max_batch, number * settings.max_waiting
        door.resize(num_running + num_waiting, num_running + min(num_running, num_waiting) // 2)
        max_batch = number * means.max_batch

        def shared(endpoint: str) -> Pace:
            return Shared(means.pace_of(endpoint), number)

        alike = [sample for sample in inside if sample.job.priority == job.priority]
        seconds = door.ask(
            Asker(job.owner, job.claim or job.id, len(samples), is_own=not job.claim),
            time.monotonic(),
            Counter(sample.owner for sample in alike),
            lambda: leaving(alike, samples[0], shared, max_batch),
        )
        if seconds is not None:
            raise Overloaded("The engine is busy. Try again later.", retry_after_seconds=seconds)
        if job.deadline is None:
            return
        needed = seconds_to_finish(inside, samples, shared, max_batch)
        if (late := time.monotonic() + needed - job.deadline) > 0:
            raise Overloaded(
                "The queue is too long for this request's deadline.",
                retry_after_seconds=max(1.0, late),
            )
