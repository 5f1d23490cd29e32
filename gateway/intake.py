"""From a request whose dialect is forgotten to a `Job`: names, defaults, ranges, sizes.

Every dialect's parameters meet here: aliases are folded into one canonical name each, and
the endpoint's card supplies defaults and refuses what is out of its range.
"""

import math
import random
import time
from collections.abc import Collection, Iterator
from uuid import uuid4

import msgspec

from gateway.catalog.cards import AdapterCard, EndpointCard, Sizes, Tier
from gateway.catalog.catalog import Catalog, Model
from gateway.catalog.samplers import Choice
from gateway.errors import (
    InvalidValue,
    ModelNotFound,
    ModelUnusable,
    OutOfRange,
)
from gateway.job import AdapterUse, Job, Pixels, Priority
from gateway.outside.parameters import MAX_SECONDS, MAX_SEED, GenerationRequest
from gateway.outside.unread import ONE_QUALITY
from gateway.remarks import Remark, no_effect, of_syntax
from gateway.settings import Settings

Size = tuple[int, int]
"""Width and height, in pixels."""

OLDER_QUALITIES = {"standard": "medium", "hd": "high"}
"""What qualities were called when there were two."""


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """On what terms a request is taken.

    `owner` is the key it is accounted to; `clamp_steps` lowers a step count above the
    card's maximum to it instead of refusing; `timeout_seconds` holds for requests that
    name no time themselves. `remarks` are what is to be said of the request's fields.
    `luck` is the seed of a request that names none and must come to the same when it is
    repeated.
    """

    owner: str = ""
    priority: Priority = "interactive"
    clamp_steps: bool = False
    timeout_seconds: float | None = None
    remarks: tuple[Remark, ...] = ()
    luck: int | None = None


class Inputs(msgspec.Struct, frozen=True):
    """The pictures an edit begins with; `mask` is 255 where to edit.

    `size` is that of the first as it came, before it was scaled down.
    """

    images: tuple[Pixels, ...] = ()
    mask: Pixels | None = None
    size: Size | None = None


def to_job(
    request: GenerationRequest,
    model: Model,
    catalog: Catalog,
    settings: Settings,
    terms: Terms = Terms(),
    inputs: Inputs = Inputs(),
) -> Job:
    """Apply the card's defaults and ranges.

    Raises:
        InvalidRequest: a value the card does not allow.
        ModelNotFound: a LoRA that the endpoint does not have.
        ModelUnusable: there is a card, and it cannot be read.
    """
    card = model.endpoint
    for id in (card.id, model.id):
        if fault := catalog.broken.get(id):
            raise ModelUnusable.of(id, fault.reason)
    _check_prompts(request, settings)
    request = msgspec.structs.replace(
        request,
        prompt=catalog.spoken(card.id, request.prompt),
        negative_prompt=catalog.spoken(card.id, request.negative_prompt or "") or None,
    )
    tier = _tier(request, card)
    steps = _steps(request, card, tier, terms.clamp_steps)
    seconds = request.timeout_seconds or terms.timeout_seconds
    size = asked_size = request.size
    if size is None and inputs.images:
        size = inputs.images[0].width, inputs.images[0].height
        asked_size = inputs.size or size
        size = size_within(size, card.sizes)
    (width, height), output_size = fit_size(size, card.sizes)
    scheduler = catalog.scheduler(card.id, request.scheduler)
    adapters, pins = adapters_of(request, model, catalog)
    arguments = card.call_arguments(steps)
    if request.true_cfg_scale is not None:
        arguments["true_cfg_scale"] = request.true_cfg_scale
    job = Job(
        id=uuid4().hex,
        endpoint=card.id,
        prompt=request.prompt,
        negative_prompt=request.negative_prompt or None,
        num_inference_steps=steps,
        guidance_scale=_guidance(request, card, tier),
        width=width,
        height=height,
        output_size=output_size,
        seeds=seeds(request.seed, request.n, terms.luck),
        adapters=adapters,
        pins=pins,
        images=inputs.images,
        mask=inputs.mask,
        strength=request.strength,
        scheduler=scheduler.cls,
        scheduler_config=scheduler.config,
        num_previews=request.partial_images,
        matting=card.matting if request.background == "transparent" else None,
        prompts=card.prompts,
        priority=terms.priority,
        deadline=time.monotonic() + min(seconds, MAX_SECONDS) if seconds else None,
        owner=terms.owner,
        arguments=arguments,
    )
    ignores = catalog.abilities(card.id).ignores
    remarks = (*_of_quality(request, card), *_remarks(request, job, asked_size, scheduler, ignores))
    return msgspec.structs.replace(job, remarks=(*terms.remarks, *remarks))


def _remarks(
    request: GenerationRequest,
    job: Job,
    size: Size | None,
    scheduler: Choice,
    ignores: Collection[str],
) -> Iterator[Remark]:
    """What a job does otherwise than asked; `size` is that one, `ignores` what is unheard."""
    yield from of_syntax("prompt", request.prompt, job.prompts)
    yield from of_syntax("negative_prompt", request.negative_prompt, job.prompts)
    asked, steps = request.num_inference_steps, job.num_inference_steps
    if asked not in (None, steps):
        told = f"{asked} steps were lowered to {steps}, the most that {job.endpoint} takes."
        yield Remark("steps_lowered", "num_inference_steps", told)
    param = "size" if request.size else "image"
    yield from of_size(param, size, (job.width, job.height), job.output_size)
    if request.background == "transparent" and job.matting is None:
        told = f"background: the model {job.endpoint} draws opaque pictures only"
        yield Remark("background_opaque", "background", told)
    if request.guidance_scale is not None and "guidance_scale" in ignores:
        yield no_effect("guidance_scale", "the endpoint's pipeline takes none")
    if scheduler.note:
        yield Remark("scheduler_replaced", "scheduler", f"scheduler: {scheduler.note}")


def of_size(
    param: str, asked: Size | None, drawn: Size, output_size: Size | None
) -> Iterator[Remark]:
    """What is to be said where a picture is drawn at another size than was asked for."""
    if asked and asked != drawn:
        nearest = "the nearest that the endpoint draws"
        becomes = f"and resampled to {_shown(output_size)}" if output_size else nearest
        told = f"{_shown(asked)} was drawn at {_shown(drawn)}, {becomes}."
        yield Remark("size_changed", param, told)


def seeds(seed: int | None, n: int, luck: int | None = None) -> tuple[int, ...]:
    """One seed per sample, counting up from the first; None and -1 begin by luck or at random."""
    drawn = random.getrandbits(32) if luck is None else luck
    first = drawn if seed is None or seed == -1 else seed
    return tuple((first + index) % (MAX_SEED + 1) for index in range(n))


def adapters_of(
    request: GenerationRequest, model: Model, catalog: Catalog
) -> tuple[tuple[AdapterUse, ...], dict[str, str]]:
    """The model id's adapter, then the request's LoRAs; a LoRA named again changes its scale.

    Returns them, and the digests that were asked for with them, by model id.

    Raises:
        ModelNotFound: the endpoint has no such LoRA.
        OutOfRange: a scale is outside its card's range.
    """
    uses: dict[str, float] = {}
    pins = dict(model.pins)
    if model.adapter:
        uses[model.adapter.route] = model.adapter.scale
    for index, choice in enumerate(request.loras):
        name, at, digest = choice.name.partition("@")
        card = _find_adapter(catalog, model, name, f"loras[{index}].name")
        if at:
            pins[card.id] = digest.lower()
        scale = card.scale if choice.scale is None else choice.scale
        low, high = card.scale_range
        if not low <= scale <= high:
            bound = high if scale > high else low
            param = f"loras[{index}].scale"
            raise OutOfRange(param, "decimal", bound, scale, above=scale > high)
        uses[card.route] = scale
    return tuple(AdapterUse(route, scale) for route, scale in uses.items()), pins


def _find_adapter(catalog: Catalog, model: Model, name: str, param: str) -> AdapterCard:
    try:
        return catalog.find_adapter(model.endpoint.id, name)
    except ModelNotFound as error:
        error.param = param
        raise


def fit_size(
    size: Size | None, sizes: Sizes
) -> tuple[Size, Size | None]:
    """What to render at and, where it differs, what to resample to; `(width, height)` each.

    Raises:
        InvalidValue: the card does not allow the size.
    """
    if size is None or size == sizes.native:
        return sizes.native, None
    if any(not sizes.min <= edge <= sizes.max for edge in size):
        supported = f"edges from {sizes.min} to {sizes.max} pixels"
        raise InvalidValue("size", _shown(size), supported)
    if sizes.resample:
        rendered = _native_area(size, sizes)
        return rendered, size if size != rendered else None
    if sizes.allowed:
        if size not in sizes.allowed:
            supported = ", ".join(f"'{_shown(pair)}'" for pair in sizes.allowed)
            raise InvalidValue("size", _shown(size), supported)
        return size, None
    width, height = (
        max(sizes.multiple_of, round(edge / sizes.multiple_of) * sizes.multiple_of) for edge in size
    )
    return (width, height), None


def _native_area(size: Size, sizes: Sizes) -> Size:
    """The size of the native area that has the wanted aspect, within 1:2 and 2:1."""
    area = math.prod(sizes.native)
    aspect = min(2.0, max(0.5, size[0] / size[1]))
    unit = sizes.multiple_of
    width = max(unit, round(math.sqrt(area * aspect) / unit) * unit)
    height = max(unit, round(math.sqrt(area / aspect) / unit) * unit)
    return width, height


def size_within(size: Size, sizes: Sizes) -> Size:
    """An input picture's size, scaled into the card's bounds where it lies outside them."""
    width, height = size
    if sizes.allowed and not sizes.resample:
        return min(sizes.allowed, key=lambda pair: abs(pair[0] / pair[1] - width / height))
    factor = min(1.0, sizes.max / max(width, height))
    factor = max(factor, sizes.min / min(width, height))
    edges = (round(edge * factor) for edge in (width, height))
    width, height = (min(sizes.max, max(sizes.min, edge)) for edge in edges)
    return width, height


def _shown(size: Size) -> str:
    return f"{size[0]}x{size[1]}"


def _check_prompts(request: GenerationRequest, settings: Settings) -> None:
    limit = settings.max_prompt_characters
    for param in ("prompt", "negative_prompt"):
        length = len(getattr(request, param) or "")
        if length > limit:
            raise OutOfRange(param, "string", limit, length, above=True)


def _quality(request: GenerationRequest) -> str:
    """The quality asked for by its name, nothing for auto."""
    name = str(request.quality or "").strip().lower()
    return "" if name == "auto" else OLDER_QUALITIES.get(name, name)


def _tier(request: GenerationRequest, card: EndpointCard) -> Tier | None:
    """What the quality asked for means, if anything."""
    return next((tier for name, tier in card.quality.items() if name == _quality(request)), None)


def _of_quality(request: GenerationRequest, card: EndpointCard) -> Iterator[Remark]:
    """What is to be said of a quality that was not drawn as such."""
    if not _quality(request):
        return
    if _tier(request, card) is None:
        known = ", ".join(card.quality)
        yield no_effect("quality", f"the endpoint has {known}" if known else ONE_QUALITY)
    elif request.num_inference_steps is not None:
        yield no_effect("quality", "num_inference_steps says how finely")


def _steps(
    request: GenerationRequest, card: EndpointCard, tier: Tier | None, clamp: bool
) -> int:
    steps = request.num_inference_steps
    if steps is None:
        return tier.steps if tier else card.steps.default
    if clamp and steps > card.steps.max:
        return card.steps.max
    if steps > card.steps.max:
        raise OutOfRange("num_inference_steps", "integer", card.steps.max, steps, above=True)
    if steps < card.steps.min:
        raise OutOfRange("num_inference_steps", "integer", card.steps.min, steps, above=False)
    return steps


def _guidance(
    request: GenerationRequest, card: EndpointCard, tier: Tier | None
) -> float | None:
    value, guidance = request.guidance_scale, card.guidance
    if value is None:
        own = tier.guidance if tier and request.num_inference_steps is None else None
        return guidance.default if own is None else own
    if not guidance.min <= value <= guidance.max:
        above = value > guidance.max
        bound = guidance.max if above else guidance.min
        raise OutOfRange("guidance_scale", "decimal", bound, value, above=above)
    return value
