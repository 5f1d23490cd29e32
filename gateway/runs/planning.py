"""From an order to the jobs that draw it."""

import base64
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from PIL import Image

from gateway.catalog import Catalog, EndpointCard, Model
from gateway.errors import InvalidRequest
from gateway.intake import fit_size, read_request, to_job
from gateway.job import Job
from gateway.runs.graph.compile import compile_graph
from gateway.runs.graph.values import Draft, Loaded, Mask, Output, Picture, Plan, Rendered
from gateway.runs.pictures import changed, flat, mask_of, to_pixels
from gateway.runs.records import Order
from gateway.settings import Settings

Load = Callable[[str], Awaitable[Image.Image]]
"""The picture of a source: an uploaded file's name, a URL or a data URL."""

Rendereds = Mapping[int, Sequence[Image.Image]]
"""The pictures of drafts by their number."""

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
    job = to_job(read_request(order.inputs), model, catalog, settings)
    output = Output(
        node_id=model.id,
        class_type="SaveImage",
        picture=Picture(Rendered(0)),
        file_type=_file_type(order.inputs),
        output_id="output_images",
    )
    return Plan((_model_draft(order, model, job),), (output,))


async def job_of(draft: Draft, card: EndpointCard, load: Load, rendered: Rendereds) -> Job:
    """A draft with its pictures loaded and its size fitted to the card.

    `rendered` holds the pictures of the drafts before it.

    Raises:
        InvalidRequest: a picture cannot be loaded, or has a size that the card refuses.
    """
    picture = await _picture(draft.picture or draft.canvas, load, rendered)
    mask = await _mask(draft.mask, load, rendered)
    wanted = picture.size if picture and not draft.width else (draft.width, draft.height)
    size, output_size = fit_size(wanted, card.sizes)
    is_input = picture is not None and draft.picture is not None
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
        images=(to_pixels(flat(picture).resize(size)),) if picture and is_input else (),
        mask=to_pixels(mask.resize(size)) if mask and is_input else None,
        strength=draft.strength,
        scheduler=draft.scheduler,
        scheduler_config=draft.scheduler_config,
        arguments=card.call_arguments(draft.num_inference_steps) | draft.arguments,
    )


async def _picture(picture: Picture | None, load: Load, rendered: Rendereds) -> Image.Image | None:
    if picture is None:
        return None
    if isinstance(picture.origin, Rendered):
        first = rendered[picture.origin.draft][0]
    else:
        first = await load(picture.origin.source)
    return changed(first, picture.changes)


async def _mask(mask: Mask | None, load: Load, rendered: Rendereds) -> Image.Image | None:
    if mask is None:
        return None
    picture = await _picture(mask.picture, load, rendered)
    assert picture is not None
    return mask_of(picture, mask)


def _model_draft(order: Order, model: Model, job: Job) -> Draft:
    """A model's run told as a draft, so that both kinds of run are drawn in one way."""
    source = _first(order.inputs, PICTURE_INPUTS)
    over = _first(order.inputs, MASK_INPUTS)
    if over and not source:
        raise InvalidRequest("A mask needs an image to lie on.", param="inputs.mask")
    if source and not model.endpoint.edits:
        message = f"The model `{model.id}` does not edit images."
        raise InvalidRequest(message, param="inputs.image")
    picture = Picture(Loaded(source)) if source else None
    mask = Mask(Picture(Loaded(over)), "alpha") if over else None
    wanted = job.output_size or (job.width, job.height)
    if source and read_request(order.inputs).size is None:
        wanted = (0, 0)
    redraws = source is not None and model.endpoint.edit_pipeline is None
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
        picture=picture,
        mask=mask,
        strength=(job.strength or DEFAULT_STRENGTH) if redraws else None,
        scheduler=job.scheduler,
        arguments=job.arguments,
    )


def _first(inputs: dict[str, Any], names: tuple[str, ...]) -> str | None:
    for name in names:
        value = inputs.get(name)
        if isinstance(value, list) and value:
            value = value[0]
        if isinstance(value, str) and value:
            return value
    return None


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
