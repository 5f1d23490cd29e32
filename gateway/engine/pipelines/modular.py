"""Pipelines made of blocks, to be called as others are.

Theirs is a call that takes whatever its blocks name and gives back all that they left. Here it
has those names as its parameters, and gives back pictures. Steps are told by the scheduler, and
calls are parked, as in any other pipeline.
"""

import copy
import functools
import inspect
import sys
import types
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping
from typing import Any

from diffusers import ModularPipeline

from gateway.catalog.cards import CardError, EndpointCard

PICTURES = "images"
GUIDANCE = "guidance_scale"
TEXTS = {"prompt", "negative_prompt"}
IMAGE, MASK = "image", "mask_image"
STRENGTH, SHORTENED = "strength", "get_timesteps"
"""How much is redrawn, and what leaves the steps for it of those that are asked for."""

_OVERLAY = "mask_overlay_kwargs"
"""What some blocks lay over what they have repainted, and over no tensors."""


def load_modular(card: EndpointCard, folder: str, parts: Mapping[str, Any], **given: Any) -> Any:
    """A pipeline made of blocks, from a folder that holds every part but those given.

    Raises:
        CardError: a part could not be loaded; why is in the log of diffusers.
    """
    if card.offload != "none":
        raise CardError("key 'offload': pipelines made of blocks stay on the device", card.path)
    pipeline = ModularPipeline.from_pretrained(folder, local_files_only=True)
    if PICTURES not in {each.name for each in pipeline.blocks.outputs}:
        raise CardError(f"{type(pipeline).__name__} draws no pictures", card.path)
    pipeline.update_components(**parts)
    pipeline.load_components(**given)
    lacking = [
        name
        for name in pipeline.pretrained_component_names
        if pipeline.get_component_spec(name).pretrained_model_name_or_path
        and getattr(pipeline, name, None) is None
    ]
    if lacking:
        raise CardError(f"the part '{lacking[0]}' cannot be loaded", card.path)
    return as_stock(pipeline)


def is_modular(kind: Any) -> bool:
    """Whether a class is of pipelines made of blocks."""
    return isinstance(kind, type) and issubclass(kind, ModularPipeline)


def as_stock(pipeline: Any) -> Any:
    """The same pipeline, with a call like that of others, and without bars."""
    hide_bars(pipeline._blocks)  # `blocks` is a copy
    kind: Any = type(pipeline)
    pipeline.__class__ = _called_alike(kind, _signature(pipeline))
    return pipeline


def redrawing(pipeline: Any, *, masked: bool) -> Any:
    """The same pipeline, whose call takes a picture too, and a mask; None where no block does."""
    blocks, shown = pipeline.blocks, {IMAGE, MASK} if masked else {IMAGE}
    if not shown <= {each.name for each in blocks.inputs}:
        return None
    own, (_, stock, *_) = copy.copy(pipeline), type(pipeline).__mro__
    is_overlaid = masked and _OVERLAY in {each.name for each in blocks.intermediate_outputs}
    signature = _signature(pipeline, shown)
    shortening = _shortening(blocks) or _shortened if STRENGTH in signature.parameters else None
    own.__class__ = _called_alike(stock, signature, shortening, "pil" if is_overlaid else None)
    return own


def _shortened(scheduler: Any, num_inference_steps: int, strength: float) -> tuple[Any, int]:
    """What blocks do that have no function for it."""
    left_out = int(max(num_inference_steps * (1 - strength), 0))
    return scheduler.timesteps[left_out * scheduler.order :], num_inference_steps - left_out


@functools.cache
def _called_alike(
    kind: Hashable,
    signature: inspect.Signature,
    shortening: Callable[..., Any] | None = None,
    output_type: str | None = None,
) -> type:
    """A class whose call takes what the blocks of one of its pipelines do.

    `shortening` has a strength mean fewer steps, and `output_type` is what alone blocks can give.
    """
    stock: Any = kind

    def call(self: Any, **given: Any) -> Any:
        if GUIDANCE in given and _has_guider(self):
            self.guider.guidance_scale = given.pop(GUIDANCE)  # a sample's guider is its own
        given |= {"output_type": output_type} if output_type else {}
        return types.SimpleNamespace(images=stock.__call__(self, output=PICTURES, **given))

    def get_timesteps(self: Any, num_inference_steps: int, strength: float, device: Any) -> Any:
        assert shortening is not None
        known = {"components": self, "scheduler": self.scheduler, "device": device}
        named = {name: known[name] for name in known if name in _names(shortening)}
        return shortening(num_inference_steps=num_inference_steps, strength=strength, **named)

    call.__signature__ = signature  # type: ignore[attr-defined]
    own: dict[str, Any] = {"__call__": call}
    return type(stock.__name__, (stock,), own | ({SHORTENED: get_timesteps} if shortening else {}))


def _shortening(blocks: Any) -> Callable[..., Any] | None:
    """The function by which some block leaves steps out; None where none does."""
    for block in getattr(blocks, "sub_blocks", {}).values():
        place = vars(sys.modules[type(block).__module__])
        if SHORTENED in inspect.unwrap(type(block).__call__).__code__.co_names:
            found: Callable[..., Any] = getattr(type(block), SHORTENED, None) or place[SHORTENED]
            return found
        if (inner := _shortening(block)) is not None:
            return inner
    return None


def _names(function: Callable[..., Any]) -> set[str]:
    return set(inspect.signature(function).parameters)


def _signature(pipeline: Any, shown: Collection[str] = ()) -> inspect.Signature:
    """The parameters that blocks name, and the strength of their guider.

    What has other blocks run, such as those of edits, is none of them, but for those `shown`.
    """
    blocks = pipeline.blocks
    others = set(_triggers(blocks)) - TEXTS - set(shown)
    named = {
        each.name: each.default for each in blocks.inputs if each.name and each.name not in others
    }
    if _has_guider(pipeline):
        named.setdefault(GUIDANCE, pipeline.guider.guidance_scale)
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Signature(
        [
            inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY),
            *(inspect.Parameter(name, kind, default=value) for name, value in named.items()),
        ]
    )


def _triggers(blocks: Any) -> Iterator[str]:
    """The names of inputs by which blocks choose among those inside them."""
    yield from (name for name in getattr(blocks, "block_trigger_inputs", ()) if name)
    for block in getattr(blocks, "sub_blocks", {}).values():
        yield from _triggers(block)


def _has_guider(pipeline: Any) -> bool:
    return hasattr(getattr(pipeline, "guider", None), GUIDANCE)


def hide_bars(blocks: Any) -> None:
    """Have blocks, and those within, show no bars."""
    for block in (blocks, *blocks.sub_blocks.values()):
        if hasattr(block, "set_progress_bar_config"):
            block.set_progress_bar_config(disable=True)
        if block is not blocks and getattr(block, "sub_blocks", None):
            hide_bars(block)
