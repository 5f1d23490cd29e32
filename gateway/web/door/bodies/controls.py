"""The ControlNets that a request asks for, with their pictures in hand."""

from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.catalog.catalog import Model
from gateway.job import ControlUse, Job
from gateway.outside.controls import read_controls
from gateway.web.door.answers.patience import while_here
from gateway.web.door.bodies.bodies import Asked
from gateway.web.door.bodies.sources import sources_of
from gateway.web.door.bodies.uploads import named_pictures
from gateway.web.door.desk import Desk


async def controlled(
    job: Job, given: Mapping[str, Any], model: Model, desk: Desk, request: Asked
) -> Job:
    """A job with the ControlNets that its request asks for.

    Raises:
        InvalidRequest: of its family, for names and pictures that are none.
    """
    asked = read_controls(given)
    if not asked:
        return job
    card, catalog = model.endpoint, desk.catalog
    routes = [catalog.control(card.id, each.name, each.param).route for each in asked]
    sources = sources_of(desk, request, job.owner)
    entries = [each.entry for each in asked]
    finding = named_pictures(entries, "control_images", sources, card.sizes.max)
    shown = await while_here(request, finding)
    controls = tuple(
        ControlUse(
            route=route, image=image, scale=each.scale, start=each.start, end=each.end,
            mode=each.mode,
        )
        for route, each, image in zip(routes, asked, shown, strict=True)
    )
    return msgspec.structs.replace(job, controls=controls)
