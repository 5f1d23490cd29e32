"""The small engine in processes of its own, behind one front: replicas that can be killed."""

import os

from gateway.catalog.catalog import Catalog
from gateway.catalog.collection import Collection
from gateway.cluster.crew import Patience
from gateway.cluster.devices import Place
from gateway.cluster.engine import ClusterEngine
from gateway.cluster.link import Ground, Link
from gateway.cluster.replica import Replica
from gateway.cluster.session import Session
from gateway.settings import Settings
from tests.small_engine import TestEngine

PLACES = [Place(name, "cpu", threads=1) for name in ("cpu#1", "cpu#2")]


def engine_of_replicas(served: Catalog, settings: Settings, step_seconds: float) -> ClusterEngine:
    """Two of them on a Ray of their own; `SILENT_SECONDS` is how long one may say nothing."""
    os.environ["STEP_SECONDS"] = str(step_seconds)
    session = Session(None, len(PLACES))

    async def opened() -> list[Place]:
        await session.open()
        return PLACES

    def hire(name: str, place: Place, catalog: Catalog) -> Link:
        from gateway.cluster.actors import ActorLink  # noqa: PLC0415  Ray's environment is set now

        return ActorLink(settings, place, catalog, small)

    patience = Patience(
        beat_seconds=0.25, silent_seconds=float(os.environ.get("SILENT_SECONDS", "15")),
        pause_seconds=0.25,
    )  # fmt: skip
    ground = Ground(opened, hire, session.close, session.fault)
    return ClusterEngine(served, settings, ground, patience)


def small(settings: Settings, catalog: Catalog, place: Place) -> Replica:
    """What draws in such a process."""
    return Replica(TestEngine(float(os.environ["STEP_SECONDS"])), Collection.of(catalog))
