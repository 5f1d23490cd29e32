"""Drawing a run: its jobs through the engine, its pictures into the store, its changes told."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from functools import partial

import msgspec
import structlog

from gateway.catalog.catalog import Catalog
from gateway.catalog.collection import Collection
from gateway.engine.protocol import Engine
from gateway.errors import GatewayError, Overloaded, ShuttingDown
from gateway.images.darkroom import Darkroom
from gateway.images.encode import encode, resample
from gateway.images.matting import cut_out
from gateway.images.objects import Objects
from gateway.images.signing import Signer
from gateway.job import Failed, Finished, Job, Preview, StepDone
from gateway.outages import patiently
from gateway.remarks import Remark, codes, once
from gateway.runs.drawing.album import Album, Shot, drafts_needed
from gateway.runs.drawing.keeping import Keeper, failure
from gateway.runs.drawing.meter import Meter, Stopped
from gateway.runs.drawing.planning import input_bytes, jobs_of, plan_of
from gateway.runs.durable.claims import CRASHED, Claim
from gateway.runs.durable.ground import Ground
from gateway.runs.graph.values import Plan
from gateway.runs.library.sources import Sources
from gateway.runs.live import Live
from gateway.runs.places import SamplesOf
from gateway.runs.records import Run, RunOutput, Status
from gateway.runs.store import Change, RunStore
from gateway.settings import Settings
from gateway.telemetry import metrics, traces

log = structlog.get_logger()
MAX_PREVIEWS = 4
"""Of a sample, where its run shows any."""

Describe = Callable[[Job, Finished], dict[str, str]]
"""The text that a picture's PNG carries."""


class Equipment(msgspec.Struct, frozen=True, kw_only=True):
    """What runs are drawn with."""

    engine: Engine
    collection: Collection
    settings: Settings
    darkroom: Darkroom
    describe: Describe = lambda _job, _event: {}
    objects: Objects | None = None
    signer: Signer | None = None

    @property
    def catalog(self) -> Catalog:
        """What can be asked for now."""
        return self.collection.now()


class Performer:
    """Draws runs. Doing one twice, after a crash, overwrites the same files once more.

    Outages are waited out, each where it is met: a picture that is drawn is kept and told of
    as soon as there is where to. `held` are the claims on the runs that are drawn here.
    """

    def __init__(
        self,
        equipment: Equipment,
        store: RunStore,
        keeper: Keeper,
        sources: Sources,
        ground: Ground,
        samples_of: SamplesOf,
    ) -> None:
        self.equipment = equipment
        self.store = store
        self.keeper = keeper
        self.sources = sources
        self.ground = ground
        self.in_thread = ground.in_thread
        self._samples_of = samples_of
        self.live = Live()
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.held: dict[str, Claim] = {}

    async def perform(self, run_id: str) -> None:
        """Draw a run that has not ended; returns when it has, or when others draw it."""
        task = self.tasks[run_id] = asyncio.create_task(self._begin(run_id))
        try:
            await asyncio.wait({task})
        finally:
            del self.tasks[run_id]
            task.cancel()
        if not task.cancelled():
            task.result()

    def stop(self, run_id: str) -> None:
        """Stop drawing a run at its next step, if it is drawn here."""
        if task := self.tasks.get(run_id):
            task.cancel()

    async def _begin(self, run_id: str) -> None:
        """Draw a run, with no other suspect beside it if it may have crashed the gateway."""
        run = await self.ground.patiently(self.store.get, run_id)
        if run is None or run.has_ended:
            return
        claims, crashes = self.ground.claims, 0
        if run.status != "queued":
            crashes = await self.ground.patiently(claims.crashes, run_id)
        async with self.ground.beside_others(crashes):
            claim = await self.ground.patiently(self.store.begin, run_id, claims)
            if claim is None:
                return
            self.held[run_id] = claim
            self.live.begin(run_id)
            try:
                with traces.again(run.order.trace, "run", run=run.id):
                    await self._draw_claimed(run, claim)
            finally:
                self.live.end(run_id)
                del self.held[run_id]

    async def _draw_claimed(self, run: Run, claim: Claim) -> None:
        try:
            if claim.is_poison:
                log.error("run given up", run_id=run.id, crashes=claim.crashes)
                await self._fail(run, "failed", CRASHED)
            else:
                await self._perform(run)
        except Exception as error:
            log.error("run failed", run_id=run.id, exc_info=error)
            await self._fail(run, "failed", "The gateway had an error while drawing this run.")

    async def _perform(self, run: Run) -> None:
        limit = asyncio.timeout(self._seconds_left(run))
        try:
            async with limit:
                made, notes = await self._outputs(run)
        except TimeoutError:
            if not limit.expired():
                raise
            seconds = run.order.timeout_seconds
            await self._fail(run, "timeout", f"The run took over its {seconds:g} seconds.")
        except ShuttingDown:
            await asyncio.Event().wait()  # the process ends, and its successor draws the run
        except Stopped:
            return
        except GatewayError as error:
            # What the client could have asked otherwise keeps its name.
            code = error.code or error.type if error.status < 500 else ""
            await self._fail(run, "failed", error.message, code)
        else:
            for code in codes(notes):
                metrics.WARNINGS.labels(code).inc()
            last = f"Executing {made[-1].node_class}" if made else "Executing PreviewImage"
            done = Change(
                status="success", live_status=last, progress=1.0, outputs=made, notes=notes
            )
            await self._end(run, done)

    async def _outputs(self, run: Run) -> tuple[tuple[RunOutput, ...], tuple[Remark, ...]]:
        """Draw the jobs in their order, then keep what the output nodes take of them.

        Returns the outputs, and what was read more freely than it was written.
        """
        settings, catalog = self.equipment.settings, self.equipment.catalog
        plan = await self.in_thread(plan_of, run.order, catalog, settings)
        self.live.tell(run.id, "execution_start")
        meter = Meter(run, plan, self.live, lambda change: self._change(run, change))
        made: list[RunOutput] = []
        notes = [*plan.notes]
        counters: dict[str, int] = {}
        darkroom = self.equipment.darkroom
        with darkroom.share() as share:
            album = Album(run.owner, self.sources, darkroom, share)
            for index in range(len(plan.drafts)):
                meter.begin(index)
                notes += await self._draw(run, plan, index, album, meter)
                album.keep_only(drafts_needed(plan, index))
            for output in plan.outputs:
                if not output.temporary:
                    async with aclosing(album.frames(output.picture)) as frames:
                        made.append(await self.keeper.keep(run.id, output, frames, counters))
                    self.live.tell(run.id, "executed", made[-1])
        return tuple(made), once(notes)

    async def _draw(
        self, run: Run, plan: Plan, index: int, album: Album, meter: Meter
    ) -> list[Remark]:
        """Draw one draft into the album, its memory taken before; what its pipeline told."""
        jobs = await self._jobs(run, plan, index, album)
        taken = sum(map(_output_bytes, jobs))
        await album.share.take(taken)
        shots = await self._shots(jobs, meter)
        album.add(index, shots, taken)
        album.share.give(sum(map(input_bytes, jobs)))
        told = [remark for job in jobs for remark in job.remarks]
        return [*told, *(remark for shot in shots for remark in shot.remarks)]

    async def _jobs(self, run: Run, plan: Plan, index: int, album: Album) -> list[Job]:
        draft = plan.drafts[index]
        card = self.equipment.catalog.endpoint(draft.endpoint)
        return [
            msgspec.structs.replace(
                job,
                id=f"{run.id}-{index}" if number == 0 else f"{run.id}-{index}-{number}",
                owner=run.owner,
                remarks=(*plan.notes, *job.remarks),
                priority="batch" if run.batch_id else "interactive",
                num_previews=min(job.num_inference_steps - 1, MAX_PREVIEWS) * run.order.previews,
            )
            for number, job in enumerate(await jobs_of(draft, card, album))
        ]

    async def _shots(self, jobs: list[Job], meter: Meter) -> list[Shot]:
        """Every sample of a draft's jobs, together or as many at once as their key may draw."""
        limit = self._samples_of(jobs[0].owner)
        parts = [part for job in jobs for part in _parts(job, limit)]
        at_once = len(parts) if limit is None else max(1, limit // len(parts[0].seeds))
        shots: list[Shot] = []
        for start in range(0, len(parts), at_once):
            shots += await self._together(parts[start : start + at_once], meter, len(shots))
        return shots

    async def _together(self, jobs: list[Job], meter: Meter, first: int) -> list[Shot]:
        """The samples of several jobs, which share forwards in the engine."""
        tasks = []
        try:
            async with asyncio.TaskGroup() as group:
                for job in jobs:
                    tasks.append(group.create_task(self._patiently(job, meter, first)))
                    first += len(job.seeds)
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return [shot for task in tasks for shot in task.result()]

    async def _patiently(self, job: Job, meter: Meter, first: int) -> list[Shot]:
        """Every sample of a job, waiting while the engine's door is full."""
        while True:
            try:
                return await self._drawn(job, meter, first)
            except Overloaded as error:
                await asyncio.sleep(min(1.0, error.retry_after_seconds or 0.25))

    async def _drawn(self, job: Job, meter: Meter, first: int) -> list[Shot]:
        shots: dict[int, Shot] = {}
        do = self.equipment.darkroom.do
        drawn = traces.told(job, self.equipment.engine.submit(job))
        async with aclosing(drawn) as events:
            async for event in events:
                match event:
                    case StepDone():
                        await meter.step(event, first)
                    case Preview():
                        shown = await do(encode, event.pixels, "jpeg")
                        self.live.show(meter.run.id, shown)
                    case Finished(sample, pixels):
                        if job.matting:
                            pixels = await do(cut_out, pixels)
                        if job.output_size:
                            pixels = await do(resample, pixels, job.output_size)
                        text = await self._described(job, event)
                        shots[sample] = Shot(pixels, job.seeds[sample], text, event.remarks)
                    case Failed():
                        raise event.error()
        return [shots[sample] for sample in range(len(job.seeds))]

    async def _described(self, job: Job, event: Finished) -> dict[str, str]:
        """A picture's text; reading a model's digests takes files, and may take minutes."""
        describe = partial(self.in_thread, self.equipment.describe, job, event)
        return await patiently(describe, "receipt")

    async def _change(self, run: Run, change: Change) -> bool:
        """Change a run while this process draws it; False where it has ended or others do."""
        return await self.ground.patiently(self.store.change, run.id, change, self.held[run.id])

    async def _fail(self, run: Run, status: Status, error: str, refusal: str = "") -> None:
        traces.failed(error)
        made = (failure(run.id, error, refusal),)
        await self._end(run, Change(status=status, live_status=error, error=error, outputs=made))

    async def _end(self, run: Run, done: Change) -> None:
        """Write the run's end, for good."""
        if await self._change(run, done):
            self.live.tell(run.id, "status", done.status)

    def _seconds_left(self, run: Run) -> float | None:
        """Of the run's own time, which counts from its first start, also after a crash."""
        seconds = run.order.timeout_seconds
        if seconds is None or run.started_at is None:
            return seconds
        return self.ground.calendar.seconds_left(run.started_at, seconds)


def _output_bytes(job: Job) -> int:
    """The memory of the pictures that a job will draw."""
    width, height = job.output_size or (job.width, job.height)
    pixels = max(width * height, job.width * job.height)
    return len(job.seeds) * pixels * (4 if job.matting else 3)


def _parts(job: Job, limit: int | None) -> list[Job]:
    """A job as jobs of no more samples than a limit."""
    size = limit or len(job.seeds)
    return [
        msgspec.structs.replace(job, seeds=job.seeds[first : first + size])
        for first in range(0, len(job.seeds), size)
    ]
