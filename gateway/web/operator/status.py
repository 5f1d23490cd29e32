"""A snapshot of this process for the operator's page."""

import asyncio
import time
from importlib.metadata import version
from typing import Any

import msgspec
from litestar import Request, get

from gateway.catalog.cards import CardError
from gateway.catalog.catalog import Model
from gateway.engine.protocol import EngineStatus
from gateway.fetching.progress import Fetching, under_way
from gateway.telemetry.recent import RecentRequests, RequestSummary
from gateway.web.door.desk import Desk
from gateway.web.door.standing import standings


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator's page shows: the engine now, its bounds, and the latest requests.

    `unusable` says of models why they cannot be used, with the files' places for operators,
    who also see what is passed over. `fetching` are the downloads under way.
    """

    version: str
    uptime_seconds: float
    endpoints: list[str]
    unusable: dict[str, str]
    passed_over: list[str]
    fetching: list[Fetching]
    max_batch: int
    max_waiting: int
    engine: EngineStatus
    recent: list[RequestSummary]


def routes(desk: Desk, recent: RecentRequests) -> list[Any]:
    """The snapshot: all of it for an operator, else what the key may use and has asked."""
    started = time.monotonic()

    @get("/status.json", include_in_schema=False)
    async def snapshot(request: Request[Any, Any, Any]) -> Snapshot:
        """The state of this process, cheap enough to ask for every second."""
        caller = desk.door.identify(request)
        catalog, engine = desk.catalog, desk.studio.engine.status()
        faults = await asyncio.to_thread(desk.studio.collection.faults)
        stands = standings(faults, engine)
        unusable = {
            model.id: standing.reason or ""
            for model in catalog.models()
            if (standing := stands(model)).state == "unusable"
        }
        everything = Snapshot(
            version=version("image-gateway"),
            uptime_seconds=time.monotonic() - started,
            endpoints=list(catalog.endpoints),
            unusable={id: _placed(faults.get(id), said) for id, said in unusable.items()},
            passed_over=[str(stray) for stray in catalog.passed_over],
            fetching=under_way(),
            max_batch=desk.settings.max_batch,
            max_waiting=desk.settings.max_waiting,
            engine=engine,
            recent=recent.latest(),
        )
        if caller.is_operator:
            return everything
        return msgspec.structs.replace(
            narrowed(everything, [model for model in catalog.models() if caller.may_use(model)]),
            unusable={
                model.id: unusable[model.id]
                for model in catalog.models()
                if model.id in unusable and caller.may_use(model)
            },
            recent=recent.of_key(caller.id),
        )

    return [snapshot]


def _placed(fault: CardError | None, reason: str) -> str:
    """A reason with the place of the file, where it is what a look at files told."""
    return str(fault) if fault is not None and fault.reason == reason else reason


def narrowed(snapshot: Snapshot, models: list[Model]) -> Snapshot:
    """A snapshot that names no model but these."""
    ids = {model.id for model in models}
    owners = {model.endpoint.id for model in models}
    engine = snapshot.engine
    loaded = tuple(
        msgspec.structs.replace(
            one,
            adapters=tuple(route for route in one.adapters if f"{one.id}:{route}" in ids),
            digests={id: digest for id, digest in one.digests.items() if id in ids},
        )
        for one in engine.loaded
        if one.id in owners
    )
    step_seconds = {id: seconds for id, seconds in engine.step_seconds.items() if id in owners}
    return msgspec.structs.replace(
        snapshot,
        endpoints=[id for id in snapshot.endpoints if id in owners],
        passed_over=[],
        fetching=[one for one in snapshot.fetching if one.model in ids],
        engine=msgspec.structs.replace(
            engine,
            loaded=loaded,
            step_seconds=step_seconds,
            faults={},
            replicas=(),
            plans={id: plan for id, plan in engine.plans.items() if id in owners},
        ),
    )
