"""What the devices do and have in memory, told to the rest of the gateway."""

from collections.abc import Collection, Iterable, Iterator, Mapping

from gateway.catalog.collection import Key
from gateway.engine.forecast import seconds_left
from gateway.engine.hub import Hub
from gateway.engine.loading.held import Held
from gateway.engine.loading.loading import LoadedPipeline
from gateway.engine.protocol import EngineStatus, LoadedEndpoint, Space
from gateway.engine.sample import Sample
from gateway.engine.turns import Pace
from gateway.engine.weights.unusable import reason_of


def status_of(
    work: Mapping[Hub, Collection[Sample]], *, is_ready: bool, fault: str | None
) -> EngineStatus:
    """How devices stand, each with what it was given and has not ended."""
    hubs = list(work)
    running = [one for hub in hubs for one in hub.running.copy() if not one.is_done]
    those_running = set(running)
    waiting = [one for samples in work.values() for one in samples if one not in those_running]
    paces = paces_of(hubs)
    busiest = max((_seconds_of(work[hub], paces) for hub in hubs), default=(0.0, 0.0))
    return EngineStatus(
        ready=is_ready,
        fault=fault,
        num_running=len(running),
        num_waiting=len(waiting),
        loaded=tuple(one for hub in hubs for one in loaded_in(hub)),
        batch_sizes=tuple(size for hub in hubs for size in hub.forwards.batch_sizes.copy()),
        step_seconds={id: pace.step_seconds for id, pace in paces.items()},
        num_recordings=sum(len(hub.lanes.captures) for hub in hubs),
        recorded_bytes=sum(hub.lanes.captures.size_bytes for hub in hubs),
        plans={id: str(plan) for hub in hubs for id, plan in hub.shelf.room.plans.items()},
        faults={id: reason_of(error) for hub in hubs for id, error in hub.shelf.faults.items()},
        queued_seconds=busiest[0],
        batch_seconds=busiest[1],
        sample_step_seconds={id: pace.seconds_per_sample_step for id, pace in paces.items()},
        load_seconds={id: s for hub in hubs for id, s in hub.shelf.load_seconds.items()},
        weights=_space(
            sum(hub.shelf.room.weights_bytes for hub in hubs),
            sum(one.size_bytes for hub in hubs for one in hub.shelf.loaded.values()),
        ),
        beside=_space(
            sum(hub.shelf.room.beside_bytes for hub in hubs),
            sum(hub.shelf.beside_bytes for hub in hubs),
        ),
        running_adapters=_adapters_of(running),
        waiting_adapters=_adapters_of(waiting),
    )


def paces_of(hubs: Iterable[Hub]) -> dict[str, Pace]:
    """How fast each endpoint goes; safe from any thread."""
    return {id: pace for hub in list(hubs) for id, pace in hub.paces.copy().items()}


def loaded_in(hub: Hub) -> Iterator[LoadedEndpoint]:
    """The endpoints in memory; safe from any thread."""
    paces, held = hub.paces.copy(), hub.shelf.held
    for id, loaded in hub.shelf.loaded.items():
        beside = [(route, one) for (owner, route), one in held if owner == id]
        yield LoadedEndpoint(
            id=id,
            pipeline=type(loaded.base).__name__,
            device=str(loaded.device),
            size_bytes=loaded.size_bytes,
            planned_bytes=loaded.planned_bytes,
            used_bytes=loaded.used_bytes,
            adapters=tuple(route for route, _ in beside),
            digests=_digests_of(id, loaded, held),
            ranks={route: one.rank for route, one in beside if one.rank},
            warm=id in paces and paces[id].seconds_per_sample_step > 0,
        )


def _digests_of(
    id: str, loaded: LoadedPipeline, held: list[tuple[Key, Held]]
) -> dict[str, str | None]:
    """The digests of an endpoint's weights in memory and of its adapters', by model id."""
    return {id: loaded.origin.digest} | {
        adapter.card.id: adapter.origin.digest for (owner, _), adapter in held if owner == id
    }


def _seconds_of(samples: Collection[Sample], paces: Mapping[str, Pace]) -> tuple[float, float]:
    """Device time of all of a device's samples, and of those of batches."""

    def seconds(some: list[Sample]) -> float:
        return seconds_left(some, lambda id: paces.get(id, Pace()))

    return seconds(list(samples)), seconds([one for one in samples if one.is_batch])


def _space(total: float, used_bytes: int) -> Space:
    return Space(None if total == float("inf") else int(total), used_bytes)


def _adapters_of(samples: Collection[Sample]) -> tuple[str, ...]:
    ids = {f"{one.endpoint}:{use.route}" for one in samples for use in one.job.adapters}
    return tuple(sorted(ids))
