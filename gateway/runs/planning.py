"""From an order to the jobs that draw it."""

import base64
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
from PIL import Image

from gateway.catalog.cards import EndpointCard
from gateway.catalog.catalog import Catalog, Model
from gateway.errors import InvalidRequest
from gateway.intake import fit_size, read_request, size_within, to_job
from gateway.job import Job
from gateway.runs.graph.compile import compile_graph
from gateway.runs.graph.values import Draft, Loaded, Mask, Origin, Output, Picture, Plan, Rendered
from gateway.runs.pictures import changed, flat, mask_of, to_pixels
from gateway.runs.records import Order
from gateway.settings import Settings

Take = Callable[[Origin], Awaitable[Sequence[Image.Image]]]
"""The pictures of an origin, loaded or drawn before."""

PICTURE_INPUTS = ("image", "image_url", "input_image", "init_image")
MASK_INPUTS = ("mask", "mask_url", "mask_image")
DEFAULT_STRENGTH = 0.8
_DATA_URL = re.compile(r"data:[\w.+/-]*(;[\w=-]+)*;base64,", re.ASCII)


def plan_of(order: Order, catalog: Catalog, settings: Settings) -> Plan:
    """The drafts and outputs of an order; a model's run is one of each.

    Raises:
        GraphRefused: the graph cannot run.
        InvalidRequest: a model's inputs are not what its card takes.
    """
    if order.graph is not None:
        return compile_graph(order.graph, catalog)
    assert order.model_id is not None
    model = catalog.resolve(order.model_id)
    request = read_request(order.inputs)
    job = to_job(request, model, catalog, settings)
    file_type = _file_type(order.inputs)
    if job.matting and file_type in ("jpg", "jpeg"):
        raise InvalidRequest(
            "JPEG knows no transparency; a transparent background needs png or webp.",
            param="inputs.output_format",
        )
    is_opaque = request.background == "transparent" and job.matting is None
    output = Output(
        node_id=model.id,
        class_type="SaveImage",
        picture=Picture(Rendered(0)),
        file_type=file_type,
        output_id="output_images",
    )
    notes = (f"background: the model {model.id} draws opaque pictures only",) if is_opaque else ()
    return Plan((_model_draft(order, model, job),), (output,), notes)


async def jobs_of(draft: Draft, card: EndpointCard, take: Take) -> list[Job]:
    """A draft with its pictures in hand and its size fitted to the card.

    One job draws all samples, unless each of them redraws a picture of its own.

    Raises:
        InvalidRequest: a picture cannot be loaded, or has a size that the card refuses.
    """
    pictures = await _pictures(draft.picture, take)
    if len(pictures) < 2:
        return [await _job(draft, card, take, pictures[0] if pictures else None)]
    jobs = []
    for index, (seed, picture) in enumerate(zip(draft.seeds, pictures, strict=True)):
        part = msgspec.structs.replace(draft, seeds=(seed,))
        jobs.append(await _job(part, card, take, picture, index))
    return jobs


async def _job(
    draft: Draft, card: EndpointCard, take: Take, picture: Image.Image | None, index: int = 0
) -> Job:
    """The job that redraws picture number `index` of a draft, or draws afresh."""
    wanted = draft.width, draft.height
    if not draft.width:
        over = picture if draft.canvas is None else (await _pictures(draft.canvas, take))[0]
        assert over is not None
        wanted = size_within(over.size, card.sizes) if draft.fits else over.size
    size, output_size = fit_size(wanted, card.sizes)
    images = []
    if picture:
        shown = flat(picture)
        images = [shown if draft.strength is None else shown.resize(size)]
        for reference in draft.references:
            images += [flat(found) for found in await _pictures(reference, take)]
    mask = await _mask(draft.mask, take, index) if images else None
    return Job(
        id="",
        endpoint=draft.endpoint,
        adapters=draft.adapters,
        prompt=draft.prompt,
        negative_prompt=draft.negative_prompt,
        num_inference_steps=draft.num_inference_steps,
        guidance_scale=draft.guidance_scale,
        width=size[0],
        height=size[1],
        output_size=output_size,
        seeds=draft.seeds,
        images=tuple(map(to_pixels, images)),
        mask=to_pixels(mask.resize(size)) if mask else None,
        strength=draft.strength,
        matting=draft.matting,
        scheduler=draft.scheduler,
        scheduler_config=draft.scheduler_config,
        arguments=card.call_arguments(draft.num_inference_steps) | draft.arguments,
    )


async def _pictures(picture: Picture | None, take: Take) -> list[Image.Image]:
    if picture is None:
        return []
    return [changed(found, picture.changes) for found in await take(picture.origin)]


async def _mask(mask: Mask | None, take: Take, index: int) -> Image.Image | None:
    """The mask of a draft's picture number `index`; one mask lies on all of them."""
    if mask is None:
        return None
    found = await _pictures(mask.picture, take)
    return mask_of(found[index if len(found) > 1 else 0], mask)


def _model_draft(order: Order, model: Model, job: Job) -> Draft:
    """A model's run told as a draft, so that both kinds of run are drawn in one way."""
    pictures = [Picture(Loaded(source)) for source in _sources(order.inputs, PICTURE_INPUTS)]
    masks = [Mask(Picture(Loaded(over))) for over in _sources(order.inputs, MASK_INPUTS)]
    _check_edit(model, len(pictures), len(masks))
    wanted = job.output_size or (job.width, job.height)
    if pictures and read_request(order.inputs).size is None:
        wanted = (0, 0)
    redraws = bool(pictures) and model.endpoint.edit_pipeline is None
    return Draft(
        node_id=model.id,
        class_type=model.id,
        endpoint=job.endpoint,
        adapters=job.adapters,
        prompt=job.prompt,
        negative_prompt=job.negative_prompt,
        num_inference_steps=job.num_inference_steps,
        guidance_scale=job.guidance_scale,
        seeds=job.seeds,
        width=wanted[0],
        height=wanted[1],
        picture=pictures[0] if pictures else None,
        references=tuple(pictures[1:]),
        mask=masks[0] if masks else None,
        fits=True,
        strength=(job.strength or DEFAULT_STRENGTH) if redraws else None,
        matting=job.matting,
        scheduler=job.scheduler,
        arguments=job.arguments,
    )


def _check_edit(model: Model, num_pictures: int, num_masks: int) -> None:
    """Refuse pictures that a model does not take.

    Raises:
        InvalidRequest: it edits none, or fewer at a time, or a mask lies on none.
    """
    if num_masks and not num_pictures:
        raise InvalidRequest("A mask needs an image to lie on.", param="inputs.mask")
    if num_pictures and not model.endpoint.edits:
        message = f"The model `{model.id}` does not edit images."
        raise InvalidRequest(message, param="inputs.image")
    if num_masks > 1:
        raise InvalidRequest("One mask is taken, not several.", param="inputs.mask")
    if num_pictures > 1 and model.endpoint.edit_pipeline is None:
        message = f"The model `{model.id}` edits one image at a time."
        raise InvalidRequest(message, param="inputs.image")


def _sources(inputs: dict[str, Any], names: tuple[str, ...]) -> list[str]:
    """What the first of these inputs names that is given: one source, or a list of them."""
    for name in names:
        value = inputs.get(name)
        listed = value if isinstance(value, list) else [value]
        if found := [source for source in listed if isinstance(source, str) and source]:
            return found
    return []


def _file_type(inputs: dict[str, Any]) -> str:
    wanted = str(inputs.get("output_format") or "png").lower()
    if wanted not in ("png", "jpeg", "jpg", "webp"):
        raise InvalidRequest(
            f"Invalid value: '{wanted}'. Supported values are: 'png', 'jpeg' and 'webp'.",
            param="inputs.output_format",
        )
    return wanted


def data_url(source: str) -> bytes | None:
    """The bytes of a data URL; None for anything else.

    Raises:
        InvalidRequest: its base64 is broken.
    """
    head = _DATA_URL.match(source)
    if head is None:
        return None
    try:
        return base64.b64decode(source[head.end() :], validate=True)
    except ValueError as error:
        raise InvalidRequest(f"A data URL's base64 is broken: {error}.") from None
