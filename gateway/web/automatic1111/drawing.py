"""AUTOMATIC1111's dialect of drawing: txt2img, img2img, how far they are, and stopping them."""

from functools import partial
from typing import Any

import msgspec
from litestar import Request, Response, get, post

from gateway.accounts.limits import Caller
from gateway.catalog.catalog import Model
from gateway.errors import InvalidType, MissingParameter, OutOfRange
from gateway.images.decode import texts_of
from gateway.images.encode import with_text
from gateway.job import Job
from gateway.outside.inline import inline_bytes
from gateway.outside.parameters import read_request
from gateway.outside.spelling import is_absent
from gateway.remarks import Remark
from gateway.studio import Picture, Rendering
from gateway.web.automatic1111 import infotext
from gateway.web.automatic1111.asking import Asking, checkpoint_of, flag, number, read_asking
from gateway.web.automatic1111.choices import Choices
from gateway.web.automatic1111.faults import PREFIXES
from gateway.web.automatic1111.framing import CROP, FILL, framed, framed_mask
from gateway.web.door.answers.content import GAP, Content
from gateway.web.door.answers.patience import while_here
from gateway.web.door.answers.schema import documented, refusals
from gateway.web.door.bodies.bodies import Asked, read_json
from gateway.web.door.bodies.sources import sources_of
from gateway.web.door.bodies.uploads import Sources, Upload, check_count, named_picture
from gateway.web.door.desk import Desk, warnings_of
from gateway.web.door.jobs import job_of

AnyRequest = Request[Any, Any, Any]
ROUTE = f"{PREFIXES[0]}/v1"
USUAL_STRENGTH = 0.75
MAX_ENLARGED = 4096
"""Pixels along an edge of a picture that `enable_hr` enlarges."""


class TextBody(msgspec.Struct, frozen=True):
    """`POST /sdapi/v1/txt2img`; `<lora:name:scale>` in the prompt names adapters."""

    prompt: str = ""
    negative_prompt: str = ""
    seed: int = -1
    steps: int | None = None
    cfg_scale: float | None = None
    width: int | None = None
    height: int | None = None
    batch_size: int = 1
    n_iter: int = 1
    sampler_name: str | None = None
    scheduler: str | None = None
    enable_hr: bool = False
    hr_scale: float = 2.0
    send_images: bool = True
    override_settings: dict[str, Any] = {}
    alwayson_scripts: dict[str, Any] = {}


class ImageBody(TextBody, frozen=True):
    """`POST /sdapi/v1/img2img`; a mask is white where to redraw."""

    init_images: list[str] = []
    mask: str | None = None
    inpainting_mask_invert: int = 0
    denoising_strength: float = USUAL_STRENGTH
    resize_mode: int = 0
    include_init_images: bool = False


class Drawn(msgspec.Struct, frozen=True):
    """Pictures in base64, what was asked for, and the facts of it as JSON in a text."""

    images: list[str]
    parameters: dict[str, Any]
    info: str


class InfoBody(msgspec.Struct, frozen=True):
    """`POST /sdapi/v1/png-info`."""

    image: str


class Info(msgspec.Struct, frozen=True):
    """What a picture says of itself: as text, by name, and all of its texts."""

    info: str
    items: dict[str, str]
    parameters: dict[str, str]


def routes(desk: Desk, choices: Choices, version: str) -> list[Any]:
    """The route handlers."""

    async def draw(request: AnyRequest, *, edits: bool) -> Response[Any]:
        caller = await desk.admit(request)
        given = await read_json(request)
        model = await choices.model(caller, checkpoint_of(given))
        asking = read_asking(given, model, desk.catalog, desk.settings.max_prompt_characters)
        upload = Upload(asking.fields, [])
        if edits:
            sources = sources_of(desk, request, caller.id)
            upload = await while_here(request, _pictures(given, asking, model, sources))
        asked = read_request(asking.fields, needs_prompt=False)
        terms = desk.terms(request, caller, asking.remarks, clamp_steps=True)
        job = await job_of(desk, request, asked, model, upload, terms)
        job = _enlarged(job, given)
        return await answer(request, caller, job, given)

    async def answer(
        request: Asked, caller: Caller, job: Job, given: dict[str, Any]
    ) -> Response[Any]:
        is_shown, echoed = flag(given, "send_images", default=True), _echoed(given)

        async def respond(pictures: list[Picture]) -> Content:
            texts = [infotext.infotext(picture.receipt, version) for picture in pictures]
            shown = pictures if is_shown else []
            files = [
                with_text(picture.data, {infotext.PARAMETERS: text})
                if desk.settings.receipts
                else picture.data
                for picture, text in zip(shown, texts, strict=False)
            ]
            remarks = warnings_of(pictures) if pictures else job.remarks
            facts = infotext.info(pictures, job.seeds, texts, remarks, _facts(job, version))
            told = msgspec.json.encode(facts).decode()
            return Content.of(Drawn([GAP] * len(files), echoed, told), files)

        return await desk.answer(request, caller, job, Rendering(), respond, {})

    @post(
        f"{ROUTE}/txt2img",
        status_code=200,
        operation_class=documented(TextBody, Drawn),
        tags=["automatic1111"],
    )
    async def draw_text(request: AnyRequest) -> Response[Any]:
        """Draw pictures from a prompt."""
        return await draw(request, edits=False)

    @post(
        f"{ROUTE}/img2img",
        status_code=200,
        operation_class=documented(ImageBody, Drawn),
        tags=["automatic1111"],
    )
    async def draw_images(request: AnyRequest) -> Response[Any]:
        """Redraw a picture, or the masked part of it."""
        return await draw(request, edits=True)

    @get(f"{ROUTE}/progress", responses=refusals(), tags=["automatic1111"])
    async def get_progress(request: AnyRequest) -> dict[str, Any]:
        """How far your own requests to this dialect are."""
        caller = desk.door.identify(request)
        return _progress(desk, caller)

    @post(
        [f"{ROUTE}/interrupt", f"{ROUTE}/skip"],
        status_code=200,
        responses=refusals(),
        tags=["automatic1111"],
    )
    async def interrupt(request: AnyRequest) -> dict[str, Any]:
        """Stop your own requests to this dialect; each is answered with what is drawn by then."""
        caller = desk.door.identify(request)
        for drawing in desk.under_way.of(caller.id, ROUTE):
            drawing.stop()
        return {}

    @post(
        f"{ROUTE}/png-info",
        status_code=200,
        operation_class=documented(InfoBody, Info),
        tags=["automatic1111"],
    )
    async def read_info(request: AnyRequest) -> Info:
        """What a PNG says of how it was made, by this gateway or by AUTOMATIC1111."""
        await desk.admit(request)
        image = (await read_json(request)).get("image")
        if is_absent(image):
            raise MissingParameter("image")
        if not isinstance(image, str):
            raise InvalidType("image", "a string", type(image).__name__)
        text = await desk.darkroom.do(_text_of, image)
        told = infotext.infotext_of(text, version)
        return Info(told, text, infotext.parsed(told))

    return [draw_text, draw_images, get_progress, interrupt, read_info]


async def _pictures(
    given: dict[str, Any], asking: Asking, model: Model, sources: Sources
) -> Upload:
    """The pictures of img2img and its mask, in the frame that is asked for."""
    listed = given.get("init_images")
    entries = [] if is_absent(listed) else listed if isinstance(listed, list) else [listed]
    if not entries:
        raise MissingParameter("init_images")
    check_count(len(entries))
    images = [
        await named_picture(entry, f"init_images[{place}]", sources)
        for place, entry in enumerate(entries)
    ]
    mask = given.get("mask")
    if is_absent(mask):
        mask = given.get("latent_mask")
    found = None if is_absent(mask) else await named_picture(mask, "mask", sources)
    if not (model.endpoint.edit_pipeline and is_absent(given.get("denoising_strength"))):
        asking.fields["strength"] = number(given, "denoising_strength", USUAL_STRENGTH)
    size = read_request(asking.fields, needs_prompt=False).size
    mode = int(number(given, "resize_mode"))
    do, fits = sources.darkroom.do, size and max(size) <= model.endpoint.sizes.max
    is_framed = mode in (CROP, FILL) and fits
    if is_framed:
        images = [
            await do(framed, image, mode, size, f"init_images[{place}]")
            for place, image in enumerate(images)
        ]
    if found is not None:
        inverted = bool(number(given, "inpainting_mask_invert"))
        masking = partial(framed_mask, inverted=inverted)
        found = await do(masking, found, mode, size if is_framed else None)
    return Upload(asking.fields, images, found)


def _enlarged(job: Job, given: dict[str, Any]) -> Job:
    """A job whose picture is resampled as `enable_hr` says: it is drawn once, not once more."""
    if not flag(given, "enable_hr"):
        return job
    width, height = job.output_size or (job.width, job.height)
    wide, high = number(given, "hr_resize_x"), number(given, "hr_resize_y")
    scale = number(given, "hr_scale", 2.0)
    if wide > 0 or high > 0:
        scale = max(wide / width, high / height)
    most = max(1.0, MAX_ENLARGED / max(width, height))
    if not 1 <= scale <= most:
        above = scale > 1
        raise OutOfRange("hr_scale", "decimal", most if above else 1, scale, above=above)
    size = round(width * scale), round(height * scale)
    if size == (width, height):
        return job
    told = f"enable_hr: {width}x{height} was resampled to {size[0]}x{size[1]}, not drawn again."
    remark = Remark("size_changed", "enable_hr", told)
    return msgspec.structs.replace(job, output_size=size, remarks=(*job.remarks, remark))


def _progress(desk: Desk, caller: Caller) -> dict[str, Any]:
    drawings = desk.under_way.of(caller.id, ROUTE)
    first = drawings[0] if drawings else None
    done = first.progress if first else 0.0
    return {
        "progress": round(done, 4),
        "eta_relative": round(first.seconds * (1 / done - 1), 2) if first and done else 0.0,
        "state": {
            "skipped": False,
            "interrupted": bool(first and first.is_stopped),
            "stopping_generation": bool(first and first.is_stopped),
            "job": first.job.id if first else "",
            "job_count": len(drawings),
            "job_timestamp": "0",
            "job_no": 0,
            "sampling_step": first.step if first else 0,
            "sampling_steps": first.job.num_inference_steps if first else 0,
        },
        "current_image": None,
        "textinfo": None,
    }


def _facts(job: Job, version: str) -> dict[str, Any]:
    width, height = job.output_size or (job.width, job.height)
    return {
        "prompt": job.prompt,
        "negative_prompt": job.negative_prompt or "",
        "width": width,
        "height": height,
        "sd_model_name": job.model_id,
        "version": version,
    }


def _echoed(given: dict[str, Any]) -> dict[str, Any]:
    """What was asked for, without the pictures unless they are wanted back."""
    if flag(given, "include_init_images"):
        return given
    hidden = dict.fromkeys(("init_images", "mask", "latent_mask", "alwayson_scripts"))
    return given | {name: value for name, value in hidden.items() if name in given}


def _text_of(image: str) -> dict[str, str]:
    """The texts of a picture in base64.

    Raises:
        InvalidRequest: it is none.
    """
    return texts_of(inline_bytes(image, "image"), "image")
