"""Pipelines made of blocks, to be called as others are.

Theirs is a call that takes whatever its blocks name and gives back all that they left. Here it
has those names as its parameters, and gives back pictures. Steps are told by the scheduler, and
calls are parked, as in any other pipeline.
"""

import functools
import inspect
import types
from collections.abc import Hashable, Iterator, Mapping
from typing import Any

from diffusers import ModularPipeline

from gateway.catalog.cards import CardError, EndpointCard

PICTURES = "images"
GUIDANCE = "guidance_scale"
TEXTS = {"prompt", "negative_prompt"}


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
    _hide_bars(pipeline._blocks)  # `blocks` is a copy
    kind: Any = type(pipeline)
    pipeline.__class__ = _called_alike(kind, _signature(pipeline))
    return pipeline


@functools.cache
def _called_alike(kind: Hashable, signature: inspect.Signature) -> type:
    """A class whose call takes what the blocks of one of its pipelines do."""
    stock: Any = kind

    def call(self: Any, **given: Any) -> Any:
        if GUIDANCE in given and _has_guider(self):
            self.guider.guidance_scale = given.pop(GUIDANCE)  # a sample's guider is its own
        return types.SimpleNamespace(images=stock.__call__(self, output=PICTURES, **given))

    call.__signature__ = signature  # type: ignore[attr-defined]
    return type(stock.__name__, (stock,), {"__call__": call})


def _signature(pipeline: Any) -> inspect.Signature:
    """The parameters that blocks name, and the strength of their guider.

    What has other blocks run, such as those of edits, is none of them.
    """
    blocks = pipeline.blocks
    others = set(_triggers(blocks)) - TEXTS
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


def _hide_bars(blocks: Any) -> None:
    for block in (blocks, *blocks.sub_blocks.values()):
        if hasattr(block, "set_progress_bar_config"):
            block.set_progress_bar_config(disable=True)
        if block is not blocks and getattr(block, "sub_blocks", None):
            _hide_bars(block)
