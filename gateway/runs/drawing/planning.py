"""From an order to the jobs that draw it."""

from contextlib import aclosing
from typing import Any

import msgspec
from PIL import Image

from gateway.catalog.cards import EndpointCard
from gateway.catalog.catalog import Catalog, Model
from gateway.errors import InvalidRequest, InvalidType, MissingParameter, OutOfRange
from gateway.images.decode import to_pixels
from gateway.images.scale import scaled, within
from gateway.intake import Terms, fit_size, of_size, size_within, to_job
from gateway.job import ControlUse, Job, Pixels
from gateway.outside.controls import read_controls
from gateway.outside.inline import source_of
from gateway.outside.parameters import read_request
from gateway.outside.spelling import is_absent
from gateway.outside.unread import unknown, unread
from gateway.remarks import Remark
from gateway.runs.drawing.album import Album
from gateway.runs.drawing.pictures import flat, mask_of
from gateway.runs.graph.bounds import MAX_REFERENCES, Bounds
from gateway.runs.graph.compile import compile_graph
from gateway.runs.graph.externals import external_nodes
from gateway.runs.graph.scope import SizeOf, unseen
from gateway.runs.graph.values import (
    Control,
    ControlNet,
    Draft,
    Loaded,
    Mask,
    Output,
    Picture,
    Plan,
    Rendered,
)
from gateway.runs.records import Order
from gateway.settings import Settings

PICTURE_INPUTS = ("image", "image_url", "input_image", "init_image")
MASK_INPUTS = ("mask", "mask_url", "mask_image")
DEFAULT_STRENGTH = 0.8


def plan_of(
    order: Order, catalog: Catalog, settings: Settings, size_of: SizeOf = unseen
) -> Plan:
    """The drafts and outputs of an order; a model's run is one of each.

    Raises:
        GraphRefused: the graph cannot run.
        InvalidRequest: a model's inputs are not what its card takes.
    """
    if order.graph is not None:
        plan = compile_graph(order.graph, catalog, Bounds.of(settings), size_of)
        notes = (*order.remarks, *_unknown_inputs(order.graph, order.inputs), *plan.notes)
        outputs = tuple(_kept(output, order) for output in plan.outputs)
        return msgspec.structs.replace(plan, notes=notes, outputs=outputs)
    assert order.model_id is not None
    model = catalog.resolve(order.model_id)
    request = read_request(order.inputs)
    remarks = unread(order.inputs, *PICTURE_INPUTS, *MASK_INPUTS, "output_format", edits=True)
    terms = Terms(remarks=(*order.remarks, *remarks))
    job = to_job(request, model, catalog, settings, terms)
    file_type = _file_type(order.inputs)
    if job.matting and file_type in ("jpg", "jpeg"):
        raise InvalidRequest(
            "JPEG knows no transparency; a transparent background needs png or webp.",
            param="inputs.output_format",
        )
    output = Output(
        node_id=model.id,
        class_type="SaveImage",
        picture=Picture(Rendered(0)),
        file_type=file_type,
        output_id="output_images",
    )
    draft = msgspec.structs.replace(
        _model_draft(order, model, job, size_of),
        controls=_controls(order.inputs, model, catalog, size_of),
    )
    return Plan((draft,), (output,), job.remarks)


def _kept(output: Output, order: Order) -> Output:
    return msgspec.structs.replace(
        output, temporary=output.temporary and not order.keeps_temporary
    )


def _unknown_inputs(graph: dict[str, Any], inputs: dict[str, Any]) -> list[Remark]:
    """What is to be said of inputs that no node goes by."""
    known = {input_id for _, input_id, _ in external_nodes(graph)}
    said = [name for name, value in inputs.items() if not is_absent(value)]
    return unknown([name for name in said if name not in known], known)


async def jobs_of(draft: Draft, card: EndpointCard, album: Album) -> list[Job]:
    """A draft with its pictures in hand and its size fitted to the card.

    One job draws all samples, unless each of them redraws a picture of its own. The memory
    of their pictures is taken from the album's share.

    Raises:
        InvalidRequest: a picture cannot be loaded, or has a size that the card refuses.
        TooLarge: the pictures take more memory than a run is given.
    """
    if draft.picture is None:
        return [await _job(draft, card, album)]
    jobs: list[Job] = []
    async with aclosing(album.frames(draft.picture)) as frames:
        async for frame in frames:
            part = draft
            if draft.picture.num_images > 1:
                part = msgspec.structs.replace(draft, seeds=(draft.seeds[len(jobs)],))
            jobs.append(await _job(part, card, album, frame.picture, len(jobs)))
            await album.share.take(input_bytes(jobs[-1]))
    return jobs


def input_bytes(job: Job) -> int:
    """The memory of the pictures that a job begins with."""
    shown = (control.image for control in job.controls)
    return sum(len(pixels.data) for pixels in (*job.images, *shown, *filter(None, [job.mask])))


async def _job(
    draft: Draft,
    card: EndpointCard,
    album: Album,
    picture: Image.Image | None = None,
    index: int = 0,
) -> Job:
    """The job that redraws picture number `index` of a draft, or draws afresh."""
    wanted = asked = draft.width, draft.height
    if not draft.width:
        over = picture.size if picture and draft.canvas is None else None
        asked = over or await album.size(draft.canvas)
        wanted = size_within(asked, card.sizes) if draft.fits else asked
    size, output_size = fit_size(wanted, card.sizes)
    param = ("size" if draft.width else "image") if draft.fits else f"{draft.node_id}.latent_image"
    do = album.darkroom.do
    images: list[Pixels] = []
    if picture:
        edge = card.sizes.max
        redrawn = size if draft.strength is not None else None
        images.append(await do(_shown, picture, redrawn, edge))
        for reference in draft.references:
            images.append(await do(_shown, await album.first(reference), None, edge))
    mask = None
    if picture and draft.mask:
        over_all = await album.first(draft.mask.picture, index)
        mask = await do(_masked, over_all, draft.mask, size)
    controls = [
        ControlUse(
            route=one.net.name,
            image=await do(_shown, await album.first(one.picture), None, card.sizes.max),
            scale=one.scale,
            start=one.start,
            end=one.end,
            mode=one.net.mode,
        )
        for one in draft.controls
    ]
    return Job(
        id="",
        endpoint=draft.endpoint,
        adapters=draft.adapters,
        pins=draft.pins,
        prompt=draft.prompt,
        negative_prompt=draft.negative_prompt,
        num_inference_steps=draft.num_inference_steps,
        guidance_scale=draft.guidance_scale,
        width=size[0],
        height=size[1],
        output_size=output_size,
        seeds=draft.seeds,
        images=tuple(images),
        mask=mask,
        controls=tuple(controls),
        strength=draft.strength,
        prompts=card.prompts,
        matting=draft.matting,
        scheduler=draft.scheduler,
        scheduler_config=draft.scheduler_config,
        arguments=card.call_arguments(draft.num_inference_steps) | draft.arguments,
        remarks=tuple(of_size(param, asked, size, output_size)),
    )


def _shown(picture: Image.Image, size: tuple[int, int] | None, edge: int) -> Pixels:
    """What a pipeline is shown: what it redraws at its size, else no larger than it may draw."""
    shown = flat(picture)
    return to_pixels(scaled(shown, size) if size else within(shown, edge))


def _masked(picture: Image.Image, mask: Mask, size: tuple[int, int]) -> Pixels:
    return to_pixels(scaled(mask_of(picture, mask), size))


def _model_draft(order: Order, model: Model, job: Job, size_of: SizeOf) -> Draft:
    """A model's run told as a draft, so that both kinds of run are drawn in one way."""
    sources = _sources(order.inputs, PICTURE_INPUTS)
    over = _sources(order.inputs, MASK_INPUTS)
    _check_edit(model, len(sources), len(over))
    pictures = [Picture(Loaded(each), size=size_of(each, "inputs.image")) for each in sources]
    masks = [Mask(Picture(Loaded(each), size=size_of(each, "inputs.mask"))) for each in over]
    wanted = job.output_size or (job.width, job.height)
    if pictures and read_request(order.inputs).size is None:
        wanted = (0, 0)
    redraws = bool(pictures) and model.endpoint.edit_pipeline is None
    return Draft(
        node_id=model.id,
        class_type=model.id,
        endpoint=job.endpoint,
        adapters=job.adapters,
        pins=job.pins,
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
        scheduler_config=job.scheduler_config,
        arguments=job.arguments,
    )


def _controls(
    inputs: dict[str, Any], model: Model, catalog: Catalog, size_of: SizeOf
) -> tuple[Control, ...]:
    """The ControlNets that a model's run asks for."""
    found = []
    for place, asked in enumerate(read_controls(inputs)):
        card = catalog.control(model.endpoint.id, asked.name, f"inputs.{asked.param}")
        source = picture_named(asked.entry, f"control_images[{place}]")
        if source is None:
            raise MissingParameter(f"inputs.control_images[{place}]")
        size = size_of(source, f"inputs.control_images[{place}]")
        net = ControlNet(model.id, card.route, asked.mode)
        picture = Picture(Loaded(source), size=size)
        found.append(Control(net, picture, asked.scale, asked.start, asked.end))
    return tuple(found)


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
    if num_pictures > MAX_REFERENCES:
        raise OutOfRange("inputs.image", "array", MAX_REFERENCES, num_pictures, above=True)
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
        if found := [source for entry in listed if (source := picture_named(entry, name))]:
            return found
    return []


def picture_named(entry: Any, name: str) -> str | None:
    """The source of a picture as an input says it; None where it says none.

    Raises:
        InvalidType: it is something else.
    """
    if is_absent(entry):
        return None
    if (source := source_of(entry)) is None:
        raise InvalidType(f"inputs.{name}", "a URL, a data URL or a file", type(entry).__name__)
    return source


def _file_type(inputs: dict[str, Any]) -> str:
    given = inputs.get("output_format")
    wanted = "png" if is_absent(given) else str(given).strip().lower()
    if wanted not in ("png", "jpeg", "jpg", "webp"):
        raise InvalidRequest(
            f"Invalid value: '{wanted}'. Supported values are: 'png', 'jpeg' and 'webp'.",
            param="inputs.output_format",
        )
    return wanted
