"""What is in memory on a device, told to the rest of the gateway."""

from collections.abc import Iterator

from gateway.catalog.collection import Key
from gateway.engine.hub import Hub
from gateway.engine.loading.loading import LoadedPipeline
from gateway.engine.loading.shelf import Held
from gateway.engine.protocol import LoadedEndpoint


def loaded_in(hub: Hub) -> Iterator[LoadedEndpoint]:
    """The endpoints in memory; safe from any thread."""
    paces, held = hub.paces.copy(), hub.shelf.held
    for id, loaded in hub.shelf.loaded.items():
        yield LoadedEndpoint(
            id=id,
            pipeline=type(loaded.base).__name__,
            device=str(loaded.device),
            size_bytes=loaded.size_bytes,
            planned_bytes=loaded.planned_bytes,
            used_bytes=loaded.used_bytes,
            adapters=tuple(route for (owner, route), _ in held if owner == id),
            digests=_digests_of(id, loaded, held),
            warm=id in paces and paces[id].seconds_per_sample_step > 0,
        )


def _digests_of(
    id: str, loaded: LoadedPipeline, held: list[tuple[Key, Held]]
) -> dict[str, str | None]:
    """The digests of an endpoint's weights in memory and of its adapters', by model id."""
    return {id: loaded.origin.digest} | {
        adapter.card.id: adapter.origin.digest for (owner, _), adapter in held if owner == id
    }
