"""Prompts and what is said beside them."""

from typing import Any

import msgspec

from gateway.runs.graph.bounds import check_references
from gateway.runs.graph.refusal import NodeFault, unsupported
from gateway.runs.graph.scope import Compile, Node, Scope
from gateway.runs.graph.values import Clip, Conditioning, Latent, Picture


def last_layer(node: Node, scope: Scope) -> tuple[Clip]:
    """CLIPSetLastLayer: becomes `clip_skip` of the pipeline's call."""
    return (msgspec.structs.replace(node["clip"], stop_at=node["stop_at_clip_layer"]),)


def encode(node: Node, scope: Scope) -> tuple[Conditioning]:
    """CLIPTextEncode: one prompt for every encoder."""
    return (Conditioning(prompt=scope.read(node, "text"), clip=node["clip"]),)


def encode_xl(node: Node, scope: Scope) -> tuple[Conditioning]:
    """CLIPTextEncodeSDXL: `text_l` is diffusers' prompt, `text_g` its prompt_2."""
    arguments: dict[str, Any] = {
        "original_size": [node["height"], node["width"]],
        "crops_coords_top_left": [node["crop_h"], node["crop_w"]],
        "target_size": [node["target_height"], node["target_width"]],
    }
    texts = scope.read(node, "text_l"), scope.read(node, "text_g")
    return (_two_prompts(node, *texts, arguments),)


def encode_flux(node: Node, scope: Scope) -> tuple[Conditioning]:
    """CLIPTextEncodeFlux: CLIP's prompt, T5's prompt, and the guidance the model was fed."""
    found = _two_prompts(node, scope.read(node, "clip_l"), scope.read(node, "t5xxl"), {})
    return (msgspec.structs.replace(found, guidance=node["guidance"]),)


def encode_sd3(node: Node, scope: Scope) -> tuple[Conditioning]:
    """CLIPTextEncodeSD3: `clip_l` is diffusers' prompt, `clip_g` and `t5xxl` the next two."""
    arguments: dict[str, Any] = {}
    first, second, third = (scope.read(node, name) for name in ("clip_l", "clip_g", "t5xxl"))
    if not first == second == third:
        arguments = {"prompt_2": second, "prompt_3": third}
    return (Conditioning(prompt=first, clip=node["clip"], arguments=arguments),)


def encode_edit(node: Node, scope: Scope) -> tuple[Conditioning]:
    """TextEncodeQwenImageEdit and its Plus: a prompt, and the pictures that it speaks of."""
    given = (node.get(name) for name in ("image", "image1", "image2", "image3"))
    pictures = tuple(picture for picture in given if isinstance(picture, Picture))
    return (
        Conditioning(prompt=scope.read(node, "prompt"), clip=node["clip"], references=pictures),
    )


def refer(node: Node, scope: Scope) -> tuple[Conditioning]:
    """ReferenceLatent: one more picture for an edit pipeline to look at."""
    conditioning: Conditioning = node["conditioning"]
    latent = node.get("latent")
    if not isinstance(latent, Latent):
        return (conditioning,)
    if latent.picture is None or latent.is_empty:
        raise node.refuse("latent", "an empty latent shows nothing")
    found = check_references("latent", (*conditioning.references, latent.picture))
    return (msgspec.structs.replace(conditioning, references=found),)


def zero_out(node: Node, scope: Scope) -> tuple[Conditioning]:
    """ConditioningZeroOut: nothing to steer away from."""
    given: Conditioning = node["conditioning"]
    return (msgspec.structs.replace(given, prompt=None, arguments={}, references=()),)


def combine(node: Node, scope: Scope) -> tuple[Conditioning]:
    """ConditioningCombine: one prompt that says both."""
    return (_joined(node, scope, "conditioning_1", "conditioning_2"),)


def concat(node: Node, scope: Scope) -> tuple[Conditioning]:
    """ConditioningConcat: one prompt that says one after the other."""
    return (_joined(node, scope, "conditioning_to", "conditioning_from"),)


def _joined(node: Node, scope: Scope, name: str, other_name: str) -> Conditioning:
    """Two prompts as one, where nothing but their words differs."""
    first: Conditioning = node[name]
    second: Conditioning = node[other_name]
    prompts = [prompt for prompt in (first.prompt, second.prompt) if prompt]
    if len(prompts) < 2 or prompts[0] == prompts[1]:
        return first if first.prompt else second
    if msgspec.structs.replace(first, prompt=second.prompt) != second:
        why = "only plain prompts of the same encoder can be joined"
        raise NodeFault(unsupported(other_name, None, why))
    if first.arguments:
        raise NodeFault(unsupported(other_name, None, "only plain prompts can be joined"))
    prompt = ", ".join(prompts)
    scope.tally.length(other_name, len(prompt))
    scope.note(node, "its prompts are joined by a comma into one")
    return msgspec.structs.replace(first, prompt=prompt)


def flux_guidance(node: Node, scope: Scope) -> tuple[Conditioning]:
    """FluxGuidance: the guidance the model was distilled to be told."""
    return (msgspec.structs.replace(node["conditioning"], guidance=node["guidance"]),)


def _two_prompts(node: Node, first: str, second: str, arguments: dict[str, Any]) -> Conditioning:
    if second != first:
        arguments = arguments | {"prompt_2": second}
    return Conditioning(prompt=first, clip=node["clip"], arguments=arguments)


COMPILERS: dict[str, Compile] = {
    "CLIPSetLastLayer": last_layer,
    "CLIPTextEncode": encode,
    "CLIPTextEncodeSDXL": encode_xl,
    "CLIPTextEncodeFlux": encode_flux,
    "CLIPTextEncodeSD3": encode_sd3,
    "TextEncodeQwenImageEdit": encode_edit,
    "TextEncodeQwenImageEditPlus": encode_edit,
    "ReferenceLatent": refer,
    "ConditioningZeroOut": zero_out,
    "ConditioningCombine": combine,
    "ConditioningConcat": concat,
    "FluxGuidance": flux_guidance,
}
