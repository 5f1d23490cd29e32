"""The engine over Ray, joined: the session, its replicas' places, and the actors on them."""

from gateway.catalog.catalog import Catalog
from gateway.catalog.collection import Collection
from gateway.cluster.devices import Place, check_ray, places_there
from gateway.cluster.engine import ClusterEngine
from gateway.cluster.link import Ground, Link
from gateway.cluster.session import Session
from gateway.settings import Settings


def engine_over(
    places: list[Place] | None, collection: Collection, settings: Settings
) -> ClusterEngine:
    """The engine of replicas at some places of this machine; None for those of a cluster.

    Raises:
        SettingsError: Ray is not installed.
    """
    check_ray()
    session = Session(settings.cluster, len(places or ()))

    async def opened() -> list[Place]:
        await session.open()
        return places or places_there(settings.devices, session.num_gpus)

    def hire(name: str, place: Place, catalog: Catalog) -> Link:
        from gateway.cluster.actors import ActorLink  # noqa: PLC0415  Ray's environment is set now

        return ActorLink(settings, place, catalog)

    ground = Ground(opened, hire, session.close, session.fault)
    return ClusterEngine(collection, settings, ground)
