"""How several replicas stand, told as one engine."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

import msgspec

from gateway.cluster.crew import Crew, Post
from gateway.cluster.journey import OpenSample
from gateway.cluster.member import Member
from gateway.engine.protocol import EngineStatus, LoadedEndpoint, ReplicaStatus

T = TypeVar("T")


def status_of(
    crew: Crew, inside: Sequence[OpenSample], *, is_ready: bool, fault: str | None
) -> EngineStatus:
    """The status of them all; `inside` is every sample that has not ended.

    Seconds of queued work are those of the replica with most. What is in memory is told of each.
    """
    members = crew.members
    statuses = [member.status for member in members]
    num_running = min(len(inside), sum(status.num_running for status in statuses))
    busiest = max(members, key=lambda one: one.seconds_of(one.legs), default=None)
    paces = [status.step_seconds for status in statuses]
    return EngineStatus(
        ready=is_ready,
        fault=fault,
        num_running=num_running,
        num_waiting=len(inside) - num_running,
        loaded=tuple(one for member in members for one in _loaded(member)),
        batch_sizes=tuple(size for status in statuses for size in status.batch_sizes),
        step_seconds={id: _mean(pace[id] for pace in paces if id in pace) for id in _all(paces)},
        faults=_joined(status.faults for status in statuses),
        plans=_joined(status.plans for status in statuses),
        num_recordings=sum(status.num_recordings for status in statuses),
        recorded_bytes=sum(status.recorded_bytes for status in statuses),
        queued_seconds=busiest.seconds_of(busiest.legs) if busiest else 0.0,
        batch_seconds=busiest.seen().batch_seconds if busiest else 0.0,
        sample_step_seconds=_joined(status.sample_step_seconds for status in statuses),
        load_seconds=_joined(status.load_seconds for status in statuses),
        running_adapters=_sorted(id for status in statuses for id in status.running_adapters),
        waiting_adapters=_sorted(id for status in statuses for id in status.waiting_adapters),
        replicas=tuple(_replica(post) for post in crew.posts),
    )


def _replica(post: Post) -> ReplicaStatus:
    member = post.member
    if member is None:
        standing = "ended" if post.is_closed else "dead"
        return ReplicaStatus(name=post.place.name, standing=standing)
    return ReplicaStatus(
        name=post.place.name,
        standing=member.standing,
        host=member.beat.host if member.beat else "",
        process=member.beat.process if member.beat else None,
        num_running=member.status.num_running,
        num_waiting=member.status.num_waiting,
        queued_seconds=member.seconds_of(member.legs),
        fault=member.fault,
    )


def _loaded(member: Member) -> Iterable[LoadedEndpoint]:
    """What a replica holds, on a device that is named as the replica's place."""
    for one in member.status.loaded:
        yield msgspec.structs.replace(one, device=member.place.name)


def _joined(told: Iterable[Mapping[str, T]]) -> dict[str, T]:
    return {id: value for each in told for id, value in each.items()}


def _all(told: Iterable[Mapping[str, float]]) -> set[str]:
    return {id for each in told for id in each}


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)


def _sorted(ids: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(ids)))
