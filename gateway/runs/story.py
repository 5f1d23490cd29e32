"""A run from now to its end, whoever draws it and however late somebody begins to listen."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from gateway.outages import patiently
from gateway.runs.live import Notice
from gateway.runs.runs import Runs


async def story(runs: Runs, run_id: str, owner: str) -> AsyncGenerator[Notice | None]:
    """What happens to a run; None now and then while nothing does.

    Each output is told once, as `executed`. The last notice is `ended`, with the run as it then
    stands; there is none of a run that is forgotten or another's.
    """
    told = set()
    async with aclosing(runs.watch(run_id, owner)) as notices:
        async for notice in notices:
            if notice is not None and notice.event == "status":
                continue
            if notice is not None and notice.event == "executed":
                told.add(notice.data.id)
            yield notice
    for output in await patiently(lambda: runs.outputs(run_id), "database"):
        if output.id not in told and output.node_id is not None:
            yield Notice("executed", output)
    ended = await patiently(lambda: runs.get(run_id, owner), "database")
    if ended is not None:
        yield Notice("ended", ended)
