"""Nodes that change how ComfyUI computes, for which a pipeline has nothing or does it itself."""

from typing import Any

from gateway.runs.graph.definition import Definition, Input, left_out, one_of, real, whole
from gateway.runs.graph.scope import Compile, Node, Scope

_MODEL, _CLIP, _CONDITIONING = Input("MODEL"), Input("CLIP"), Input("CONDITIONING")

PATCHES = {
    "CFGNorm": Definition(
        {
            "model": _MODEL,
            "strength": real(1.0, 0, 100),
            "pre_cfg": left_out(Input("BOOLEAN", False)),
        },
        ("MODEL",),
    ),
    "DifferentialDiffusion": Definition(
        {"model": _MODEL, "strength": left_out(real(1.0, 0, 1))}, ("MODEL",)
    ),
    "FluxKVCache": Definition({"model": _MODEL}, ("MODEL",)),
    "T5TokenizerOptions": Definition(
        {"clip": _CLIP, "min_padding": whole(0, 0, 10_000), "min_length": whole(0, 0, 10_000)},
        ("CLIP",),
    ),
    "FluxKontextMultiReferenceLatentMethod": Definition(
        {
            "conditioning": _CONDITIONING,
            "reference_latents_method": one_of("offset", "index", "uxo/uno", "index_timestep_zero"),
        },
        ("CONDITIONING",),
    ),
}
TOLD = {
    "CFGNorm": "guidance is as the pipeline scales it",
    "DifferentialDiffusion": "the mask is as the pipeline applies it",
    "T5TokenizerOptions": "prompts are padded as the pipeline pads them",
}
"""What is said of nodes that would have made another picture; the others only save time."""


def passed(node: Node, scope: Scope) -> tuple[Any]:
    """What comes in goes out."""
    if (text := TOLD.get(node.class_type)) is not None:
        scope.note(node, text)
    (given,) = (node.values[name] for name in ("model", "clip", "conditioning")
                if name in node.values)  # fmt: skip
    return (given,)


COMPILERS: dict[str, Compile] = dict.fromkeys(PATCHES, passed)
