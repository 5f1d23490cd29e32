"""How far a run is: counted step by step, told at once, written down now and then."""

import time
from collections.abc import Awaitable, Callable

from gateway.job import StepDone
from gateway.runs.graph.values import Plan
from gateway.runs.live import Live, Progress
from gateway.runs.records import Run
from gateway.runs.store import Change

WRITE_SECONDS = 1.0
"""Progress that no webhook is told goes to the database this often at most."""


class Stopped(Exception):
    """The run has been ended by somebody else."""


class Meter:
    """Counts the steps of one run. `write` says whether the run goes on."""

    def __init__(
        self, run: Run, plan: Plan, live: Live, write: Callable[[Change], Awaitable[bool]]
    ) -> None:
        self.run = run
        self.plan = plan
        self.live = live
        self._write = write
        self._draft = 0
        self._steps: dict[int, int] = {}
        self._written_at = 0.0
        live.progress[run.id] = Progress("started", "Preparing", 0.0)

    def begin(self, draft: int) -> None:
        """Turn to a draft."""
        self._draft, self._steps = draft, {}
        self.live.tell(self.run.id, "executing", self.plan.drafts[draft].node_id)

    async def step(self, event: StepDone, first: int = 0) -> None:
        """Count a step of the draft at hand, whose sample number `first` is the job's first.

        Raises:
            Stopped: the run has been ended elsewhere.
        """
        draft = self.plan.drafts[self._draft]
        self._steps[first + event.sample] = event.step
        done, total = sum(self._steps.values()), event.num_steps * len(draft.seeds)
        now = self.live.progress[self.run.id]
        is_first, now.status = now.status != "running", "running"
        now.live_status = f"Executing {draft.class_type}"
        whole = (self._draft + done / total) / len(self.plan.drafts)
        now.progress = min(0.99, round(whole, 4))
        data = {"value": done, "max": total, "node": draft.node_id}
        self.live.tell(self.run.id, "progress", data)
        if is_first or self._is_due():
            await self._write_down(now, is_first=is_first)

    def _is_due(self) -> bool:
        order = self.run.order
        if order.webhook is not None and order.webhook_intermediate_status:
            return True
        return time.monotonic() - self._written_at > WRITE_SECONDS

    async def _write_down(self, now: Progress, *, is_first: bool) -> None:
        """The first step changes the status, which only a webhook must learn at once."""
        if is_first and self.run.order.webhook is None:
            self._written_at = time.monotonic()
            return
        self._written_at = time.monotonic()
        change = Change(
            status="running" if is_first or self.run.order.webhook is None else None,
            live_status=now.live_status,
            progress=now.progress,
        )
        if not await self._write(change):
            raise Stopped
