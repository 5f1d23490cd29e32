"""From a request's fields and the pictures it came with to a job: with pictures, it is an edit."""

import msgspec

from gateway.catalog.catalog import Model
from gateway.errors import UnsupportedValue
from gateway.images.scale import at_own_size
from gateway.intake import Terms, to_job
from gateway.job import Job
from gateway.outside.parameters import GenerationRequest
from gateway.remarks import Remark
from gateway.web.door.answers.patience import while_here
from gateway.web.door.bodies.bodies import Asked
from gateway.web.door.bodies.controls import controlled
from gateway.web.door.bodies.uploads import Upload, inputs_of
from gateway.web.door.desk import Desk


async def job_of(
    desk: Desk,
    request: Asked,
    asked: GenerationRequest,
    model: Model,
    upload: Upload,
    terms: Terms,
) -> Job:
    """The job; pictures are decoded off the event loop.

    Raises:
        UnsupportedValue: the endpoint cannot edit; the message names those that can.
    """
    if not upload.images:
        job = to_job(asked, model, desk.catalog, desk.settings, terms)
        return await controlled(job, upload.fields, model, desk, request)
    card = model.endpoint
    if not card.edits:
        able = [f"`{other.id}`" for other in desk.catalog.endpoints.values() if other.edits]
        raise UnsupportedValue(
            f"The endpoint `{card.id}` cannot edit images. Endpoints that can: "
            f"{', '.join(able) or 'none'}.",
            param="model",
        )
    if len(upload.images) > 1 and card.edit_pipeline is None:
        raise UnsupportedValue(
            f"The endpoint `{card.id}` edits one image at a time.", param="image"
        )
    instructed = card.edit_pipeline is not None and asked.strength is None
    if upload.markup is not None and not instructed:
        told = f"The marks of 'markup' say where to redraw: {card.id} follows no instructions."
        remark = Remark("read_freely", "markup", told)
        terms = msgspec.structs.replace(terms, remarks=(*terms.remarks, remark))
    reading = inputs_of(upload, desk.darkroom, card.sizes.max, instructed=instructed)
    inputs = await while_here(request, reading)
    job = to_job(asked, model, desk.catalog, desk.settings, terms, inputs)
    job = await controlled(job, upload.fields, model, desk, request)
    if card.edit_pipeline and job.strength is None and job.mask is None:
        return job
    # It is redrawn at its size, which the engine's thread would bring it to, sample by sample.
    return await desk.darkroom.do(at_own_size, job)
