"""From a sampler's inputs to the job a person would write by hand."""

from functools import partial
from typing import Any

import msgspec

from gateway.catalog.cards import EndpointCard, Scheduler
from gateway.catalog.samplers import Choice, choose, samplers_of
from gateway.runs.graph.controls import controls_for
from gateway.runs.graph.names import is_xl
from gateway.runs.graph.refusal import NodeFault, not_in_list, out_of_range
from gateway.runs.graph.scope import Node, Scope
from gateway.runs.graph.values import (
    Clip,
    Conditioning,
    Draft,
    Guider,
    Latent,
    Model,
    Picture,
    Rendered,
    Sigmas,
)

MAX_SEED = 2**64
_PLAIN_FLOW = Scheduler("FlowMatchEulerDiscreteScheduler")
"""The own scheduler of all models that take this one; their own config is the better."""


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """What every kind of sampler has: `seed` below 0 is to be drawn."""

    guider: Guider
    seed: int
    sampler: str
    sigmas: Sigmas
    latent: Latent


def sampled(node: Node, scope: Scope, wanted: Sampling) -> Latent:
    """Add a draft for this sampler, and describe what it makes.

    Raises:
        NodeFault: the endpoint's card, or any pipeline's call, cannot do it.
    """
    card = wanted.guider.model.card
    _check_steps(card, wanted.sigmas)
    references = _references(node, wanted)
    strength = _strength(node, wanted)
    scheduler = _scheduler(node, scope, wanted)
    controls = controls_for(scope, card, wanted.guider.positive)
    latent = wanted.latent
    _check_size(card, latent)
    size = latent.picture.size if latent.picture else (latent.width, latent.height)
    scope.tally.drawn("latent_image", latent, size)
    shown = [*references, *(control.picture for control in controls)]
    for picture in (*shown, latent.picture, latent.mask.picture if latent.mask else None):
        scope.tally.used("latent_image", picture)
    draft = Draft(
        node_id=node.id,
        class_type=node.class_type,
        endpoint=card.id,
        adapters=wanted.guider.model.adapters,
        pins=_pins(wanted.guider.model),
        prompt=scope.catalog.spoken(card.id, wanted.guider.positive.prompt or ""),
        negative_prompt=scope.catalog.spoken(card.id, _negative(node, scope, wanted.guider) or "")
        or None,
        guidance_scale=_guidance(card, wanted.guider),
        num_inference_steps=wanted.sigmas.steps,
        seeds=_seeds(node, scope, wanted),
        width=latent.width if latent.picture is None else 0,
        height=latent.height if latent.picture is None else 0,
        picture=references[0] if references else latent.picture if strength is not None else None,
        references=references[1:],
        canvas=latent.picture if strength is None else None,
        mask=latent.mask,
        controls=controls,
        strength=strength,
        scheduler=scheduler.cls,
        scheduler_config=scheduler.config,
        arguments=_arguments(card, wanted.guider),
    )
    scope.drafts.append(draft)
    source = draft.canvas or draft.picture if draft.width == 0 else None
    size = source.size if source else (draft.width, draft.height)
    count = len(draft.seeds)
    made = Picture(Rendered(len(scope.drafts) - 1), num_images=count, size=size)
    return Latent(node_id=node.id, picture=made, num_images=count)


def _pins(model: Model) -> dict[str, str]:
    """The digests asked for of what is drawn with; other candidates are out by now."""
    drawn = {model.card.id, *(f"{model.card.id}:{use.route}" for use in model.adapters)}
    return {id: digest for id, digest in model.pins.items() if id in drawn}


def _seeds(node: Node, scope: Scope, wanted: Sampling) -> tuple[int, ...]:
    seed = scope.draw_seed(node.id) if wanted.seed < 0 else wanted.seed
    return tuple((seed + index) % MAX_SEED for index in range(wanted.latent.num_images))


def _check_steps(card: EndpointCard, sigmas: Sigmas) -> None:
    steps = card.steps
    if not steps.min <= sigmas.steps <= steps.max:
        above = sigmas.steps > steps.max
        why = f"the endpoint {card.id} takes {steps.min} to {steps.max}"
        bound = steps.max if above else steps.min
        fault = out_of_range("steps", sigmas.steps, bound, above=above, why=why)
        raise NodeFault(fault, sigmas.node_id)


def _check_size(card: EndpointCard, latent: Latent) -> None:
    """Sizes of pictures from outside are not known until they are loaded."""
    size = latent.picture.size if latent.picture else (latent.width, latent.height)
    if size is None:
        return
    sizes = card.sizes
    for name, edge in zip(("width", "height"), size, strict=True):
        why = f"the endpoint {card.id} takes {sizes.min} to {sizes.max} pixels"
        if edge > sizes.max:
            fault = out_of_range(name, edge, sizes.max, above=True, why=why)
            raise NodeFault(fault, latent.node_id)
        if edge < sizes.min and not sizes.resample:
            fault = out_of_range(name, edge, sizes.min, above=False, why=why)
            raise NodeFault(fault, latent.node_id)
    if sizes.allowed and not sizes.resample and size not in sizes.allowed:
        options = [f"{width}x{height}" for width, height in sizes.allowed]
        fault = not_in_list("width", f"{size[0]}x{size[1]}", options)
        raise NodeFault(fault, latent.node_id)


def _references(node: Node, wanted: Sampling) -> tuple[Picture, ...]:
    """The pictures that an edit looks at; they need a pipeline that does."""
    found, card = wanted.guider.positive.references, wanted.guider.model.card
    if not found:
        return ()
    if card.edit_pipeline is None:
        raise node.refuse("positive", f"the endpoint {card.id} looks at no reference pictures")
    if wanted.sigmas.denoise <= 0.9999 or wanted.latent.mask is not None:
        raise node.refuse("denoise", "an edit by reference draws the whole picture anew")
    if any(picture.num_images > 1 for picture in found):
        raise node.refuse("positive", "a reference is one picture, this is a batch")
    return found


def _strength(node: Node, wanted: Sampling) -> float | None:
    """How much of the picture is redrawn; None where there is no picture to keep."""
    latent, denoise = wanted.latent, wanted.sigmas.denoise
    if latent.picture is None or latent.is_empty:
        if denoise < 1:
            why = "denoise below 1 needs a picture; this latent is empty"
            raise node.refuse("denoise", why)
        return None
    if denoise <= 0:
        raise node.refuse("denoise", "nothing would be redrawn")
    if denoise > 0.9999:
        return 1.0 if latent.mask is not None else None
    return denoise


def _scheduler(node: Node, scope: Scope, wanted: Sampling) -> Choice:
    """The diffusers scheduler, left to the card where the card says the same."""
    model, sampler, spacing = wanted.guider.model, wanted.sampler, wanted.sigmas.scheduler
    card = model.card
    runs = partial(scope.catalog.runs_scheduler, card.id)
    choice = choose(sampler, spacing, runs)
    if choice is None:
        raise NodeFault(not_in_list("sampler_name", sampler, samplers_of(runs)), node.id)
    if choice.note:
        scope.note(node, choice.note, "scheduler_replaced", "sampler_name")
    config = choice.config | model.config
    if model.config and not runs(choice.cls, config):
        scope.note(node, f"the endpoint {card.id} cannot be sampled with {model.config}")
        config = choice.config
    own = card.scheduler or _PLAIN_FLOW
    if own.cls == choice.cls and config.items() <= own.config.items():
        return Choice(None)
    return Choice(choice.cls, config)


def _tells_guidance(guider: Guider) -> bool:
    """Whether the model is fed its guidance rather than called twice."""
    return guider.positive.guidance is not None or guider.positive.clip.type == "flux"


def _guidance(card: EndpointCard, guider: Guider) -> float | None:
    """`cfg` of 1 is no guidance, which diffusers writes as any value up to 1."""
    if _tells_guidance(guider):
        told = guider.positive.guidance
        return card.guidance.default if told is None else _within(card, told, "guidance")
    if guider.cfg <= 1:
        return min(1.0, card.guidance.max)
    return _within(card, guider.cfg, "cfg")


def _within(card: EndpointCard, scale: float, name: str) -> float:
    """A distilled model ignores or suffers from guidance beyond its card's."""
    if scale > card.guidance.max:
        why = f"the endpoint {card.id} takes up to {card.guidance.max:g}"
        raise NodeFault(out_of_range(name, scale, card.guidance.max, above=True, why=why))
    return scale


def _negative(node: Node, scope: Scope, guider: Guider) -> str | None:
    told = guider.negative.prompt if guider.negative else None
    if told and guider.cfg <= 1:
        text = f"at a cfg of {guider.cfg:g} the negative prompt is not used"
        scope.note(node, text, "negative_prompt_unused", "negative")
        return None
    return told or None


def _arguments(card: EndpointCard, guider: Guider) -> dict[str, Any]:
    found = dict(guider.positive.arguments) | _clip_skip(card, guider.positive.clip)
    if _tells_guidance(guider) and guider.cfg > 1:
        found["true_cfg_scale"] = guider.cfg
    return found | _negative_arguments(guider.negative if guider.cfg > 1 else None)


def _negative_arguments(negative: Conditioning | None) -> dict[str, Any]:
    told = negative.arguments if negative else {}
    return {f"negative_{name}": told[name] for name in ("prompt_2", "prompt_3") if name in told}


def _clip_skip(card: EndpointCard, clip: Clip) -> dict[str, int]:
    """diffusers counts the layers skipped; SDXL skips one without being told."""
    skipped = -clip.stop_at - (2 if is_xl(card) else 1)
    return {"clip_skip": skipped} if skipped > 0 else {}
