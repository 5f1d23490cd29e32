"""What a picture waits for before its first step: weights on their way, or not in memory yet."""

from gateway.engine.protocol import Engine
from gateway.fetching.progress import done_of, under_way
from gateway.job import Job

HEADER = "x-waiting-for"
"""Of an answer whose status had to be sent before there was a picture."""


def preparing(engine: Engine, job: Job) -> str | None:
    """What a job waits for, in words; None where its model is in memory.

    `downloading sdxl-turbo, 1.2 GiB of 6.5 GiB`, or `loading sdxl-turbo`.
    """
    wanted = [job.endpoint, *(f"{job.endpoint}:{use.route}" for use in job.adapters)]
    there = set[str]()
    for one in engine.status().loaded:
        there |= {one.id, *(f"{one.id}:{route}" for route in one.adapters)}
    coming = {one.model: one for one in under_way()}
    missing = next((id for id in wanted if id not in there), None)
    if missing in coming:
        return f"downloading {missing}, {done_of(coming[missing])}"
    return missing and f"loading {missing}"
