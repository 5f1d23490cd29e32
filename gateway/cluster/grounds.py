"""The engine over Ray, joined: the session, its replicas' places, and the actors on them."""

from importlib.util import find_spec

from gateway.catalog.catalog import Catalog
from gateway.catalog.collection import Collection
from gateway.cluster.devices import Place, places_there
from gateway.cluster.engine import ClusterEngine, Ground
from gateway.cluster.link import Link
from gateway.cluster.session import Session
from gateway.settings import Settings, SettingsError


def engine_over(
    places: list[Place] | None, collection: Collection, settings: Settings
) -> ClusterEngine:
    """The engine of replicas at some places of this machine; None for those of a cluster.

    Raises:
        SettingsError: Ray is not installed, or the devices of a cluster are not named as such.
    """
    if find_spec("ray") is None:
        raise SettingsError(
            "more than one device, or a cluster, needs Ray: pip install 'image-gateway[cluster]'"
        )
    if places is None:
        places_there(settings.devices, 1)
    session = Session(settings.cluster, len(places or ()))

    async def opened() -> list[Place]:
        await session.open()
        return places or places_there(settings.devices, session.num_gpus)

    def hire(name: str, place: Place, catalog: Catalog) -> Link:
        from gateway.cluster.actors import ActorLink  # noqa: PLC0415  Ray's environment is set now

        return ActorLink(settings, place, catalog)

    return ClusterEngine(collection, settings, Ground(opened, hire, session.close))
