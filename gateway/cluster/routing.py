"""Which replica draws a job: one decision over a snapshot. No clock, no I/O, no ray.

Who is done first draws it: after the work it has, the loads it needs and the job's own steps.
What is in memory costs no load, so adapters stay where they are, and a hot one is loaded a
second time as soon as that takes less than waiting for those that have it.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Literal

import msgspec

from gateway.engine.protocol import EngineStatus, Space
from gateway.job import Job, Priority

AWAY = 0.5
"""Away from its home a load counts so much more: others will have it loaded there as well."""

CROWDED = 1.0
"""Where there is no room it counts so much more: who is evicted for it is loaded again."""

READ_BYTES_PER_SECOND = 2**29
BEGIN_SECONDS = 0.1
"""What nobody has loaded yet is expected to take so long, and by its size."""

UNKNOWN_STEP_SECONDS = 0.1
"""What nobody has drawn yet is taken to need so much, that it is not all given to one."""

Standing = Literal["ready", "starting", "draining", "dead"]


class Part(msgspec.Struct, frozen=True):
    """What a job needs in memory: its endpoint, or an adapter; and how long that should load."""

    id: str
    size_bytes: int = 0
    load_seconds: float = 0.0


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """A job as far as it matters who draws it; `num_steps` are those of all its samples."""

    endpoint: Part
    beside: tuple[Part, ...] = ()
    num_steps: int = 1
    priority: Priority = "interactive"

    @property
    def parts(self) -> tuple[Part, ...]:
        """The endpoint, then what lies beside it."""
        return (self.endpoint, *self.beside)


class Replica(msgspec.Struct, frozen=True, kw_only=True):
    """A replica as it was last heard of, and with what it was given since.

    `id` should outlive a restart: adapters have their homes by it. `queued_seconds` are device
    time of all it has to do, of which `batch_seconds` are nobody's who waits. `models` are the
    ids of what is in memory, or on its way there. `step_seconds` is, by endpoint, the device
    time of one step of one sample.
    """

    id: str
    standing: Standing = "ready"
    queued_seconds: float = 0.0
    batch_seconds: float = 0.0
    models: frozenset[str] = frozenset()
    weights: Space = Space()
    beside: Space = Space()
    step_seconds: Mapping[str, float] = {}

    def lacks(self, parts: Iterable[Part]) -> list[Part]:
        """Those that would have to be loaded."""
        return [part for part in parts if part.id not in self.models]

    def given(self, task: Task, step_seconds: float = 0.0) -> "Replica":
        """The same once it has taken a task, before it is heard of again."""
        lacking = self.lacks(task.parts)
        seconds = sum(part.load_seconds for part in lacking)
        seconds += task.num_steps * self.step_seconds.get(task.endpoint.id, step_seconds)
        return msgspec.structs.replace(
            self,
            queued_seconds=self.queued_seconds + seconds,
            batch_seconds=self.batch_seconds + (seconds if task.priority == "batch" else 0.0),
            models=self.models | {part.id for part in lacking},
            weights=self.weights.with_more(_bytes_of(self.lacks([task.endpoint]))),
            beside=self.beside.with_more(_bytes_of(self.lacks(task.beside))),
        )


def seen(id: str, status: EngineStatus, standing: Standing = "ready") -> Replica:
    """A replica by what its engine says of itself."""
    return Replica(
        id=id,
        standing=standing,
        queued_seconds=status.queued_seconds,
        batch_seconds=status.batch_seconds,
        models=frozenset(status.digests),
        weights=status.weights,
        beside=status.beside,
        step_seconds=status.sample_step_seconds,
    )


def task_of(
    job: Job, beside: Iterable[str], sizes: Mapping[str, int], statuses: Collection[EngineStatus]
) -> Task:
    """A job as a task: with the ids of what lies beside its endpoint, and bytes by id."""

    def part(id: str) -> Part:
        size = sizes.get(id, 0)
        took = [one.load_seconds[id] for one in statuses if id in one.load_seconds]
        return Part(id, size, min(took, default=BEGIN_SECONDS + size / READ_BYTES_PER_SECOND))

    return Task(
        endpoint=part(job.endpoint),
        beside=tuple(part(id) for id in beside),
        num_steps=job.num_inference_steps * len(job.seeds),
        priority=job.priority,
    )


def choose(
    task: Task, replicas: Sequence[Replica], avoid: Collection[str] = ()
) -> Replica | None:
    """The replica that should draw a task; None where none may, for now.

    None is chosen that is to be avoided, or does anything but stand ready. Where an endpoint is
    larger than every replica's memory, the largest takes it, and keeps it as well as it can.
    """
    ready = [one for one in replicas if one.standing == "ready" and one.id not in avoid]
    able = [one for one in ready if _holds(one, task.endpoint)]
    most = max((one.weights.total for one in ready), default=0.0)
    able = able or [one for one in ready if one.weights.total == most]
    homes = {part.id: home(part.id, able) for part in task.parts}
    pace = fastest(task.endpoint.id, able)
    decisive = task.beside[0].id if task.beside else task.endpoint.id
    return min(
        able,
        key=lambda one: (_seconds(task, one, homes, pace), -_affinity(decisive, one.id), one.id),
        default=None,
    )


def moves(waiting: Iterable[tuple[str, Task]], replicas: Iterable[Replica], to: str) -> list[int]:
    """Which of some tasks should go to a replica that has come, by their numbers.

    They are told in the order they came, each with the id of the replica where it has not begun;
    `replicas` are told without them. Who is not done sooner by moving stays.
    """
    there = {one.id: one for one in replicas}
    moving = []
    for number, (at, task) in enumerate(waiting):
        chosen = choose(task, [there[at], there[to]])
        goes = to if chosen and chosen.id == to else at
        there[goes] = there[goes].given(task, expected_pace(task, there.values()))
        if goes == to:
            moving.append(number)
    return moving


def home(part: str, replicas: Iterable[Replica]) -> str | None:
    """Where something is loaded first, by rendezvous: one replica less moves only what was its."""
    return max(
        (one.id for one in replicas), key=lambda id: (_affinity(part, id), id), default=None
    )


def fastest(endpoint: str, replicas: Iterable[Replica]) -> float:
    """The shortest step of an endpoint that was seen; those where none was may be as fast."""
    return min(_known(endpoint, replicas), default=0.0)


def expected_pace(task: Task, replicas: Iterable[Replica]) -> float:
    """What a step of a task should take of a replica that never had one like it."""
    return fastest(task.endpoint.id, replicas) or UNKNOWN_STEP_SECONDS


def _known(endpoint: str, replicas: Iterable[Replica]) -> Iterator[float]:
    return (seconds for one in replicas if (seconds := one.step_seconds.get(endpoint, 0.0)))


def _seconds(
    task: Task, replica: Replica, homes: Mapping[str, str | None], pace: float
) -> float:
    """When a replica should be done with a task, from now."""
    own = task.num_steps * (replica.step_seconds.get(task.endpoint.id) or pace)
    ahead = replica.queued_seconds
    if task.priority == "interactive":
        # It waits for other people; batch samples go along with them, as many at most.
        people = replica.queued_seconds - replica.batch_seconds
        ahead = people + min(replica.batch_seconds, people + own)
    return ahead + own + sum(
        _load_seconds(parts, space, replica, homes)
        for parts, space in (
            ([task.endpoint], replica.weights), (task.beside, replica.beside)
        )
    )


def _load_seconds(
    parts: Iterable[Part], space: Space, replica: Replica, homes: Mapping[str, str | None]
) -> float:
    """What loading the missing of some parts costs, to whomever."""
    lacking = replica.lacks(parts)
    crowded = CROWDED if _bytes_of(lacking) > space.free else 0.0
    away = (0.0 if homes[part.id] == replica.id else AWAY for part in lacking)
    return sum(
        part.load_seconds * (1 + crowded + more) for part, more in zip(lacking, away, strict=True)
    )


def _holds(replica: Replica, endpoint: Part) -> bool:
    return endpoint.id in replica.models or endpoint.size_bytes <= replica.weights.total


def _bytes_of(parts: Iterable[Part]) -> int:
    return sum(part.size_bytes for part in parts)


def _affinity(part: str, replica: str) -> int:
    digest = blake2b(f"{part}\n{replica}".encode(), digest_size=8).digest()
    return int.from_bytes(digest)
