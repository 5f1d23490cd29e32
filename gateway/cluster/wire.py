"""What travels between the front and a replica: jobs one way, events the other, as bytes."""

import time
from collections.abc import Sequence

import msgspec

from gateway.engine.protocol import LoadedEndpoint
from gateway.job import Event, Job


class Holding(msgspec.Struct, frozen=True, tag="holding"):
    """What a replica has in memory, told among the events of whatever changed it."""

    loaded: tuple[LoadedEndpoint, ...]


_encoder = msgspec.msgpack.Encoder()
_jobs = msgspec.msgpack.Decoder(Job)
_told: msgspec.msgpack.Decoder[Event | Holding] = msgspec.msgpack.Decoder(Event | Holding)


def packed_job(job: Job, numbers: Sequence[int]) -> bytes:
    """Those samples of a job that are to be drawn, as a job of their own.

    Clocks of machines differ: a deadline travels as the seconds that are left until it.
    """
    left = None if job.deadline is None else job.deadline - time.monotonic()
    seeds = tuple(job.seeds[number] for number in numbers)
    return _encoder.encode(msgspec.structs.replace(job, seeds=seeds, deadline=left))


def unpacked_job(data: bytes) -> Job:
    """The job, with its deadline by this machine's clock."""
    job = _jobs.decode(data)
    if job.deadline is None:
        return job
    return msgspec.structs.replace(job, deadline=time.monotonic() + job.deadline)


def packed(told: Event | Holding) -> bytes:
    """What a replica tells, as it travels."""
    return _encoder.encode(told)


def unpacked(data: bytes, numbers: Sequence[int]) -> Event | Holding:
    """What a replica tells; an event is of the sample that it is about in the whole job."""
    told = _told.decode(data)
    if isinstance(told, Holding):
        return told
    return msgspec.structs.replace(told, sample=numbers[told.sample])
