"""From a request whose dialect is forgotten to a `Job`: names, defaults, ranges, sizes.

Every dialect's parameters meet here: aliases are folded into one canonical name each, and
the endpoint's card supplies defaults and refuses what is out of its range.
"""

import math
import random
import re
import time
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal
from uuid import uuid4

import msgspec
from msgspec import Meta

from gateway.catalog.cards import AdapterCard, EndpointCard, Sizes
from gateway.catalog.catalog import Catalog, Model
from gateway.errors import (
    InvalidRequest,
    InvalidType,
    InvalidValue,
    MissingParameter,
    ModelNotFound,
    OutOfRange,
)
from gateway.job import AdapterUse, Job, Pixels, Priority
from gateway.outside.spelling import Words, is_absent, spelled, spelled_field, whole
from gateway.outside.values import convert
from gateway.settings import Settings

ALIASES: dict[str, tuple[str, ...]] = {
    "num_inference_steps": ("steps", "step", "inference_steps"),
    "guidance_scale": ("cfg_scale", "cfg", "guidance"),
    "n": ("num_images", "num_outputs", "num_images_per_prompt", "batch_size", "samples"),
    "size": ("image_size",),
    "loras": ("lora", "image_loras"),
    "timeout_seconds": ("timeout",),
}
"""Each canonical parameter and the names other servers' clients send for it."""

LORA_NAMES = ("path", "name", "adapter", "id", "route", "lora_name", "lora_path")
LORA_SCALES = ("scale", "weight", "strength", "multiplier", "lora_scale")
NAMED_SIZES = {
    "square_hd": (1024, 1024),
    "square": (512, 512),
    "portrait_4_3": (768, 1024),
    "portrait_16_9": (576, 1024),
    "landscape_4_3": (1024, 768),
    "landscape_16_9": (1024, 576),
}
MAX_SEED = 2**64 - 1
MAX_EDGE = 16384
MAX_LORAS = 32
MAX_SECONDS = 366 * 24 * 3600
"""Of a client's patience: any longer is as good as for ever, and clocks can still count it."""

_SIZE = re.compile(r"([0-9]{1,5})\s*[xX*\u00d7]\s*([0-9]{1,5})")


class LoraChoice(msgspec.Struct, frozen=True):
    """A LoRA asked for by its name in the catalogue; `scale` None means its card's own."""

    name: str
    scale: Annotated[float, Meta(ge=-100, le=100)] | None = None


class GenerationRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a client wants drawn. Absent values come from the endpoint's card.

    `size` is `[width, height]` in pixels; `seed` None or -1 is random; `strength` in
    (0, 1] belongs to edits; `timeout_seconds` is the client's own deadline. A transparent
    `background` is given where the endpoint's card says how.
    """

    prompt: Words
    model: str | None = None
    n: Annotated[int, Meta(ge=1, le=10)] = 1
    size: tuple[int, int] | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    true_cfg_scale: Annotated[float, Meta(ge=0, le=30)] | None = None
    negative_prompt: Words | None = None
    seed: Annotated[int, Meta(ge=-1)] | None = None
    loras: tuple[LoraChoice, ...] = ()
    strength: Annotated[float, Meta(gt=0, le=1)] | None = None
    scheduler: str | None = None
    partial_images: Annotated[int, Meta(ge=0, le=3)] = 0
    background: Literal["transparent", "opaque", "auto"] | None = None
    timeout_seconds: Annotated[float, Meta(gt=0)] | None = None


def read_request(body: Mapping[str, Any], *, needs_prompt: bool = True) -> GenerationRequest:
    """Fold aliases, then convert; unknown and absent fields are ignored.

    Raises:
        InvalidRequest: a known field has the wrong type, is out of range, or contradicts
            one of its aliases.
    """
    request = convert(fold(body), GenerationRequest)
    if needs_prompt and not request.prompt.strip():
        raise MissingParameter("prompt")
    if request.seed is not None and request.seed > MAX_SEED:
        raise OutOfRange("seed", "integer", MAX_SEED, request.seed, above=True)
    return request


def fold(body: Mapping[str, Any]) -> dict[str, Any]:
    """Drop what is absent, rename aliases, and read what has forms of its own.

    Raises:
        InvalidRequest: two names of one parameter carry values that differ in more than
            their spelling.
    """
    given = {
        name: value
        for name, value in body.items()
        if not (value is None if name == "prompt" else is_absent(value))
    }
    edges = _edges(given)
    for name, aliases in ALIASES.items():
        named = [(alias, given.pop(alias)) for alias in (name, *aliases) if alias in given]
        values = [(alias, _read(name, value)) for alias, value in named]
        values = [(alias, value) for alias, value in values if value is not None]
        if name == "size" and edges:
            values.append(("width", edges))
        for alias, value in values:
            if value != values[0][1]:
                raise InvalidRequest(
                    f"'{values[0][0]}' and '{alias}' contradict each other.", param=alias
                )
        if values:
            given[name] = values[0][1]
    return given


def _read(name: str, value: Any) -> Any:
    """A parameter's value, so that two spellings of it are equal."""
    reader = READERS.get(name)
    return reader(value) if reader else spelled_field(GenerationRequest, name, value)


def _edges(given: dict[str, Any]) -> tuple[int, int] | None:
    """The size that `width` and `height` say, taken out of what is given."""
    found = {edge: given.pop(edge) for edge in ("width", "height") if edge in given}
    if not found:
        return None
    for edge in ("width", "height"):
        if edge not in found:
            raise MissingParameter(edge)
        try:
            found[edge] = whole(found[edge])
        except ValueError:
            raise InvalidType(edge, "an integer", type(found[edge]).__name__) from None
    return _bounded(found["width"], found["height"])


def read_size(value: Any) -> tuple[int, int] | None:
    """A size in any of its forms, in pixels; None for auto.

    Raises:
        InvalidValue: it is none of those forms.
    """
    edges: Any = value
    if is_absent(value):
        return None
    if isinstance(value, dict):
        edges = [value.get("width"), value.get("height")]
    elif isinstance(value, str):
        name = value.strip().lower()
        if name == "auto":
            return None
        match = _SIZE.fullmatch(name)
        edges = match.groups() if match else NAMED_SIZES.get(name, ())
    elif not isinstance(value, list | tuple):
        raise InvalidType("size", "a string", type(value).__name__)
    try:
        width, height = map(whole, edges)
    except ValueError:
        raise InvalidValue("size", value, "'auto' and 'WIDTHxHEIGHT' in pixels") from None
    return _bounded(width, height)


def _bounded(width: int, height: int) -> tuple[int, int]:
    if not (0 < width <= MAX_EDGE and 0 < height <= MAX_EDGE):
        raise InvalidValue("size", f"{width}x{height}", f"edges from 1 to {MAX_EDGE} pixels")
    return width, height


def read_loras(value: Any) -> list[dict[str, Any]]:
    """LoRA choices in any server's shape: a name, an object, or a list of either.

    Raises:
        InvalidType: it is something else.
        MissingParameter: an object names no LoRA.
        OutOfRange: there are too many.
    """
    entries = value if isinstance(value, list) else [value]
    if len(entries) > MAX_LORAS:
        raise OutOfRange("loras", "array", MAX_LORAS, len(entries), above=True)
    choices = []
    for index, entry in enumerate(entries):
        if isinstance(entry, str):
            entry = {"name": entry}  # noqa: PLW2901
        if not isinstance(entry, dict):
            raise InvalidType(f"loras[{index}]", "an object", type(entry).__name__)
        name, scale = (
            next((entry[key] for key in keys if not is_absent(entry.get(key))), None)
            for keys in (LORA_NAMES, LORA_SCALES)
        )
        if name is None:
            raise MissingParameter(f"loras[{index}].name")
        choices.append(spelled({"name": name, "scale": scale}, LoraChoice))
    return choices


READERS: dict[str, Callable[[Any], Any]] = {"size": read_size, "loras": read_loras}
"""Parameters that have forms of their own."""


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """On what terms a request is taken.

    `owner` is the key it is accounted to; `clamp_steps` lowers a step count above the
    card's maximum to it instead of refusing; `timeout_seconds` holds for requests that
    name no time themselves.
    """

    owner: str = ""
    priority: Priority = "interactive"
    clamp_steps: bool = False
    timeout_seconds: float | None = None


class Inputs(msgspec.Struct, frozen=True):
    """The pictures an edit begins with; `mask` is 255 where to edit."""

    images: tuple[Pixels, ...] = ()
    mask: Pixels | None = None


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
    """
    card = model.endpoint
    _check_prompts(request, settings)
    steps = _steps(request, card, terms.clamp_steps)
    seconds = request.timeout_seconds or terms.timeout_seconds
    size = request.size
    if size is None and inputs.images:
        first = inputs.images[0]
        size = size_within((first.width, first.height), card.sizes)
    (width, height), output_size = fit_size(size, card.sizes)
    scheduler = catalog.scheduler(card.id, request.scheduler)
    arguments = card.call_arguments(steps)
    if request.true_cfg_scale is not None:
        arguments["true_cfg_scale"] = request.true_cfg_scale
    return Job(
        id=uuid4().hex,
        endpoint=card.id,
        prompt=request.prompt,
        negative_prompt=request.negative_prompt or None,
        num_inference_steps=steps,
        guidance_scale=_guidance(request, card),
        width=width,
        height=height,
        output_size=output_size,
        seeds=seeds(request.seed, request.n),
        adapters=adapters_of(request, model, catalog),
        images=inputs.images,
        mask=inputs.mask,
        strength=request.strength,
        scheduler=scheduler.cls,
        scheduler_config=scheduler.config,
        num_previews=request.partial_images,
        matting=card.matting if request.background == "transparent" else None,
        priority=terms.priority,
        deadline=time.time() + min(seconds, MAX_SECONDS) if seconds else None,
        owner=terms.owner,
        arguments=arguments,
    )


def seeds(seed: int | None, n: int) -> tuple[int, ...]:
    """One seed per sample, counting up from the first; None and -1 begin at random."""
    first = random.getrandbits(32) if seed in (None, -1) else seed
    assert first is not None
    return tuple((first + index) % (MAX_SEED + 1) for index in range(n))


def adapters_of(
    request: GenerationRequest, model: Model, catalog: Catalog
) -> tuple[AdapterUse, ...]:
    """The model id's adapter, then the request's LoRAs; a LoRA named again changes its scale.

    Raises:
        ModelNotFound: the endpoint has no such LoRA.
        OutOfRange: a scale is outside its card's range.
    """
    uses: dict[str, float] = {}
    if model.adapter:
        uses[model.adapter.route] = model.adapter.scale
    for index, choice in enumerate(request.loras):
        card = _find_adapter(catalog, model, choice.name, f"loras[{index}].name")
        scale = card.scale if choice.scale is None else choice.scale
        low, high = card.scale_range
        if not low <= scale <= high:
            bound = high if scale > high else low
            param = f"loras[{index}].scale"
            raise OutOfRange(param, "decimal", bound, scale, above=scale > high)
        uses[card.route] = scale
    return tuple(AdapterUse(route, scale) for route, scale in uses.items())


def _find_adapter(catalog: Catalog, model: Model, name: str, param: str) -> AdapterCard:
    try:
        return catalog.find_adapter(model.endpoint.id, name)
    except ModelNotFound as error:
        error.param = param
        raise


def fit_size(
    size: tuple[int, int] | None, sizes: Sizes
) -> tuple[tuple[int, int], tuple[int, int] | None]:
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


def _native_area(size: tuple[int, int], sizes: Sizes) -> tuple[int, int]:
    """The size of the native area that has the wanted aspect, within 1:2 and 2:1."""
    area = math.prod(sizes.native)
    aspect = min(2.0, max(0.5, size[0] / size[1]))
    unit = sizes.multiple_of
    width = max(unit, round(math.sqrt(area * aspect) / unit) * unit)
    height = max(unit, round(math.sqrt(area / aspect) / unit) * unit)
    return width, height


def size_within(size: tuple[int, int], sizes: Sizes) -> tuple[int, int]:
    """An input picture's size, scaled into the card's bounds where it lies outside them."""
    width, height = size
    if sizes.allowed and not sizes.resample:
        return min(sizes.allowed, key=lambda pair: abs(pair[0] / pair[1] - width / height))
    factor = min(1.0, sizes.max / max(width, height))
    factor = max(factor, sizes.min / min(width, height))
    edges = (round(edge * factor) for edge in (width, height))
    width, height = (min(sizes.max, max(sizes.min, edge)) for edge in edges)
    return width, height


def _shown(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _check_prompts(request: GenerationRequest, settings: Settings) -> None:
    limit = settings.max_prompt_characters
    for param in ("prompt", "negative_prompt"):
        length = len(getattr(request, param) or "")
        if length > limit:
            raise OutOfRange(param, "string", limit, length, above=True)


def _steps(request: GenerationRequest, card: EndpointCard, clamp: bool) -> int:
    steps = request.num_inference_steps
    if steps is None:
        return card.steps.default
    if clamp and steps > card.steps.max:
        return card.steps.max
    if steps > card.steps.max:
        raise OutOfRange("num_inference_steps", "integer", card.steps.max, steps, above=True)
    if steps < card.steps.min:
        raise OutOfRange("num_inference_steps", "integer", card.steps.min, steps, above=False)
    return steps


def _guidance(request: GenerationRequest, card: EndpointCard) -> float | None:
    value, guidance = request.guidance_scale, card.guidance
    if value is None:
        return guidance.default
    if not guidance.min <= value <= guidance.max:
        above = value > guidance.max
        bound = guidance.max if above else guidance.min
        raise OutOfRange("guidance_scale", "decimal", bound, value, above=above)
    return value
