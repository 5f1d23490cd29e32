"""How models stand: in memory, on this disk, on the hub, or of no use, and why."""

import asyncio
from collections.abc import Callable, Mapping

import msgspec

from gateway.catalog.cards import CardError
from gateway.catalog.catalog import Model
from gateway.catalog.survey.survey import State, state_of
from gateway.engine.protocol import EngineStatus
from gateway.web.door.desk import Desk


class Standing(msgspec.Struct, frozen=True):
    """A model's state, and the reason where it is not there to be asked for at once.

    `digest` is of its weights in memory.
    """

    state: State
    reason: str | None = None
    digest: str | None = None


Stands = Callable[[Model], Standing]


async def told(desk: Desk) -> Stands:
    """How each model stands now, or stood a moment ago."""
    faults = await asyncio.to_thread(desk.studio.collection.faults)
    return standings(faults, desk.studio.engine.status())


def standings(faults: Mapping[str, CardError], engine: EngineStatus) -> Stands:
    """What to say of each model, by what its files show and what an engine made of them."""
    held = {one.id for one in engine.loaded}
    held |= {f"{one.id}:{route}" for one in engine.loaded for route in one.adapters}

    def standing(model: Model) -> Standing:
        fault = faults.get(model.id)
        state = state_of(fault)
        if state == "unusable" and fault is not None:
            return Standing(state, fault.reason)
        for id in dict.fromkeys((model.endpoint.id, model.id)):
            if id in engine.faults:
                return Standing("unusable", engine.faults[id])
        if model.id in held:
            return Standing("loaded", digest=engine.digests.get(model.id))
        return Standing(state, fault.reason if fault else None)

    return standing
