"""Every server's names and forms for one parameter, folded into one request without a dialect."""

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from gateway.errors import (
    InvalidRequest,
    InvalidType,
    InvalidValue,
    MissingParameter,
    OutOfRange,
)
from gateway.outside.spelling import Words, is_absent, spelled, spelled_field, whole
from gateway.outside.values import convert

ALIASES: dict[str, tuple[str, ...]] = {
    "num_inference_steps": ("steps", "step", "inference_steps"),
    "guidance_scale": ("cfg_scale", "cfg", "guidance"),
    "n": ("num_images", "num_outputs", "num_images_per_prompt", "batch_size", "samples"),
    "size": ("image_size",),
    "loras": ("lora", "image_loras"),
    "timeout_seconds": ("timeout",),
}
"""Each canonical parameter and the names other servers' clients send for it."""

CONTROL_FIELDS = ("control_images", "controlnet_weights", "controlnets")
"""The pictures, how strongly each acts, and the ControlNets that are shown them, by name."""

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
    `background` is given where the endpoint's card says how, and `quality` means there what
    the card says.
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
    quality: Any = None
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
