"""What a body of AUTOMATIC1111's asks for, under the names that all dialects share."""

import re
from collections.abc import Callable
from itertools import islice
from typing import Any, TypeGuard, TypeVar

import msgspec

from gateway.catalog.catalog import Catalog, Model
from gateway.errors import InvalidType, OutOfRange
from gateway.outside.spelling import decimal, is_absent, truth, whole
from gateway.outside.unread import MAX_NAMED, unknown
from gateway.remarks import Remark, no_effect, shown
from gateway.web.automatic1111.names import adapter_route, scheduler_of

T = TypeVar("T")
CHECKPOINT = "sd_model_checkpoint"
MAX_PICTURES = 10
PROMPTS = ("prompt", "negative_prompt")
SAME_NAMES = ("prompt", "negative_prompt", "seed", "steps", "width", "height")
OF_DIALECT = frozenset(
    {
        *SAME_NAMES,
        *("cfg_scale", "batch_size", "n_iter", "sampler_name", "sampler_index", "scheduler"),
        *("override_settings", "override_settings_restore_afterwards", "alwayson_scripts"),
        *("init_images", "mask", "resize_mode", "inpainting_mask_invert", "denoising_strength"),
        *("include_init_images", "send_images", "enable_hr", "hr_scale", "hr_resize_x"),
        *("hr_resize_y", "do_not_save_samples", "do_not_save_grid", "save_images"),
        *("force_task_id", "script_args", "latent_mask", "image_cfg_scale", "infotext"),
        *("firstphase_width", "firstphase_height", "comments", "disable_extra_networks"),
    }
)
USUAL: dict[str, tuple[Any, ...]] = {
    "subseed": (-1,),
    "subseed_strength": (0,),
    "seed_resize_from_h": (0, -1),
    "seed_resize_from_w": (0, -1),
    "restore_faces": (False,),
    "tiling": (False,),
    "styles": ([],),
    "eta": (0, 1),
    "s_churn": (0,),
    "s_tmax": (0,),
    "s_tmin": (0,),
    "s_noise": (1,),
    "s_min_uncond": (0,),
    "mask_blur": (4, 0),
    "mask_blur_x": (4, 0),
    "mask_blur_y": (4, 0),
    "mask_round": (True,),
    "inpainting_fill": (0, 1),
    "inpaint_full_res": (0, False, True),
    "inpaint_full_res_padding": (0, 32),
    "initial_noise_multiplier": (0, 1),
    "script_name": ("None",),
    "clip_skip": (1,),
    "refiner_checkpoint": ("None",),
    "refiner_switch_at": (0, 1),
    "hr_upscaler": ("Latent", "None"),
    "hr_second_pass_steps": (0,),
    "hr_checkpoint_name": (),
    "hr_sampler_name": (),
    "hr_scheduler": (),
    "hr_prompt": (),
    "hr_negative_prompt": (),
    "hr_cfg": (1,),
    "hr_distilled_cfg": (3.5,),
    "distilled_cfg_scale": (3.5,),
}
"""Fields without effect, and the values that clients send whether or not they mean anything."""

_TAG = re.compile(r"<(?:lora|lyco):([^:<>]{1,200})((?::[^:<>]{0,40}){0,3})>", re.IGNORECASE)


class Asking(msgspec.Struct):
    """A body read: `fields` as all dialects name them, `remarks` on what was read otherwise."""

    fields: dict[str, Any]
    remarks: tuple[Remark, ...]


def checkpoint_of(given: dict[str, Any]) -> str | None:
    """The checkpoint that a body's `override_settings` name, if any.

    Raises:
        InvalidType: they are no object.
    """
    settings = given.get("override_settings")
    if is_absent(settings):
        return None
    if not isinstance(settings, dict):
        raise InvalidType("override_settings", "an object", type(settings).__name__)
    name = settings.get(CHECKPOINT)
    return None if is_absent(name) else str(name)


def read_asking(
    given: dict[str, Any], model: Model, catalog: Catalog, max_characters: int
) -> Asking:
    """Read a body of txt2img or img2img, but for its pictures.

    Prompts of over `max_characters`, which are refused later, are not looked through.

    Raises:
        InvalidRequest: of its family, naming the field.
    """
    fields = {name: given[name] for name in SAME_NAMES if given.get(name) is not None}
    fields.setdefault("prompt", "")
    remarks = list(_idle(given))
    sampler = given.get("sampler_name")
    sampler = given.get("sampler_index") if is_absent(sampler) else sampler
    fields["scheduler"] = scheduler_of(sampler, given.get("scheduler"))
    texts = {
        name: text
        for name, text in fields.items()
        if name in PROMPTS and _is_read(text, max_characters)
    }
    fields["loras"], told = _adapters(texts, model, catalog)
    fields |= {name: _TAG.sub("", text).strip() for name, text in texts.items()}
    remarks += told
    num_pictures = _number(given, "batch_size") * _number(given, "n_iter")
    if num_pictures > MAX_PICTURES:
        raise OutOfRange("batch_size", "integer", MAX_PICTURES, num_pictures, above=True)
    fields["n"] = num_pictures
    if not is_absent(given.get("cfg_scale")):
        fields["guidance_scale"], lowered = _guidance(given["cfg_scale"], model)
        remarks += lowered
    controls, others = _scripts(given.get("alwayson_scripts"))
    if controls:
        fields["control_images"] = controls
    known = OF_DIALECT | USUAL.keys()
    strange = [name for name in given if name not in known and not is_absent(given[name])]
    return Asking(fields, (*remarks, *unknown([*others, *strange], known)))


def flag(given: dict[str, Any], name: str, *, default: bool = False) -> bool:
    """A truth value of a body.

    Raises:
        InvalidType: it is none.
    """
    return _read(given, name, default, truth, "a boolean")


def number(given: dict[str, Any], name: str, default: float = 0.0) -> float:
    """A number of a body.

    Raises:
        InvalidType: it is none.
    """
    return _read(given, name, default, decimal, "a decimal")


def _read(
    given: dict[str, Any], name: str, default: T, read: Callable[[Any], T], kind: str
) -> T:
    value = given.get(name)
    if is_absent(value):
        return default
    try:
        return read(value)
    except ValueError:
        raise InvalidType(name, kind, type(value).__name__) from None


def _number(given: dict[str, Any], name: str) -> int:
    found = _read(given, name, 1, whole, "an integer")
    if found < 1:
        raise OutOfRange(name, "integer", 1, found, above=False)
    return found


def _idle(given: dict[str, Any]) -> list[Remark]:
    """What is to be said of fields that change nothing and were set to something."""
    return [
        no_effect(name, "the endpoint's pipeline decides it")
        for name, usual in USUAL.items()
        if not is_absent(value := given.get(name)) and value not in usual and value != []
    ]


def _is_read(text: Any, max_characters: int) -> TypeGuard[str]:
    return isinstance(text, str) and len(text) <= max_characters and _TAG.search(text) is not None


def _adapters(
    texts: dict[str, str], model: Model, catalog: Catalog
) -> tuple[list[dict[str, Any]], list[Remark]]:
    """The adapters that tags in prompts name, and what is to be said of tags that name none."""
    found: dict[str, float | None] = {}
    strange: dict[str, str] = {}
    for param, text in texts.items():
        for tag in _TAG.finditer(text):
            route = adapter_route(catalog, model, tag[1].strip())
            if route is None:
                strange.setdefault(tag[0], param)
            elif param == "prompt":
                found[route] = _scale(tag[2])
    remarks = [
        Remark(
            "syntax_unread",
            param,
            f"{shown(tag)!r} names no adapter of {model.endpoint.id}, and was left out.",
        )
        for tag, param in islice(strange.items(), MAX_NAMED)
    ]
    return [{"name": name, "scale": scale} for name, scale in found.items()], remarks


def _scale(parts: str) -> float | None:
    """The first number behind an adapter's name: of the text encoder's, as it is of all here."""
    first = parts.removeprefix(":").partition(":")[0].removeprefix("te=")
    try:
        return decimal(first)
    except ValueError:
        return None


def _guidance(value: Any, model: Model) -> tuple[Any, list[Remark]]:
    """As much guidance as the endpoint takes: clients send 7 whatever the model is."""
    try:
        asked = decimal(value)
    except ValueError:
        raise InvalidType("cfg_scale", "a decimal", type(value).__name__) from None
    low, high = model.endpoint.guidance.min, model.endpoint.guidance.max
    taken = min(max(asked, low), high)
    if taken == asked:
        return asked, []
    told = f"{asked:g} became {taken:g}: {model.endpoint.id} takes guidance of {low:g} to {high:g}."
    return taken, [Remark("guidance_changed", "cfg_scale", told)]


def _scripts(given: Any) -> tuple[list[dict[str, Any]], list[str]]:
    """ControlNets that are asked for as its extension has it, and the names of other scripts."""
    if not isinstance(given, dict):
        return [], []
    controls, others = [], []
    for name, script in given.items():
        units = script.get("args") if isinstance(script, dict) else None
        units = units if isinstance(units, list) else []
        if name.lower() != "controlnet":
            others += [f"alwayson_scripts.{name}"] if any(units) else []
            continue
        for unit in units:
            if isinstance(unit, dict) and unit.get("enabled", True) and _shown(unit) is not None:
                controls.append(_control(unit))
    return controls, others


def _shown(unit: dict[str, Any]) -> Any:
    image = unit.get("image", unit.get("input_image"))
    image = image.get("image") if isinstance(image, dict) else image
    return None if is_absent(image) else image


def _control(unit: dict[str, Any]) -> dict[str, Any]:
    model = unit.get("model")
    named = {} if is_absent(model) else {"controlnet": str(model).partition(" [")[0]}
    return named | {
        "image": _shown(unit),
        "weight": unit.get("weight", 1.0),
        "start": unit.get("guidance_start", 0.0),
        "end": unit.get("guidance_end", 1.0),
    }
