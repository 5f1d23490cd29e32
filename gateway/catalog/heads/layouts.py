"""What a single file of weights holds, told by the names and shapes in its head.

diffusers knows the layouts that authors publish in, and goes by names and shapes alone.
"""

import ast
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from gateway.catalog.heads.headers import Shapes
from gateway.catalog.heads.libraries import NO_MODULE
from gateway.catalog.heads.predicted import predicts_noise
from gateway.catalog.heads.shapes import shapes_of
from gateway.catalog.heads.stamps import Stamp, stamp_of
from gateway.catalog.heads.stock import diffusers_folder
from gateway.catalog.heads.strangers import is_no_model

DENOISER = "denoiser"
SECTIONS = {
    "vae": ("first_stage_model.", "vae."),
    "CLIPText": ("cond_stage_model.", "conditioner.", "text_encoders.clip_"),
    "T5Encoder": ("text_encoders.t5",),
}
"""How the names begin of an autoencoder's weights, and of text encoders' by class, among all."""

_WHOLE = (*(start for starts in SECTIONS.values() for start in starts), "text_encoders.")
PREFIX = "model.diffusion_model."
OVER_TIME = 5
"""Dimensions of the weights of a convolution over time as well."""

_KNOWLEDGE = (
    "CHECKPOINT_KEY_NAMES", "DIFFUSERS_DEFAULT_PIPELINE_PATHS", "infer_diffusers_model_type",
)  # fmt: skip
_FALLBACK = "v1"
"""What diffusers takes everything for that it does not know."""

_OTHERS: dict[str, tuple[str, dict[int, str]]] = {
    "single_stream_modulation.lin.weight": (
        "img_in.weight",
        {
            3072: "black-forest-labs/FLUX.2-klein-4B",
            4096: "black-forest-labs/FLUX.2-klein-9B",
            6144: "black-forest-labs/FLUX.2-dev",
        },
    ),
    "transformer_blocks.0.img_mod.1.weight": ("img_in.weight", {3072: "Qwen/Qwen-Image"}),
}
"""Repositories that diffusers does not tell: by a name, and how high another's shape is."""


_OF_VELOCITY, _OF_NOISE = (f"stabilityai/stable-diffusion-2-1{end}" for end in ("", "-base"))
"""Repositories of one layout, whose pictures are of two sizes and predictions of two kinds."""

_FIRST = ("input_blocks.0.0.weight", "conv_in.weight")
_READS_TEXT = ".attn2.to_k.weight"
_UNETS: dict[tuple[int, ...], str] = {
    (4, 768): "stable-diffusion-v1-5/stable-diffusion-v1-5",
    (9, 768): "stable-diffusion-v1-5/stable-diffusion-inpainting",
    (8, 768): "timbrooks/instruct-pix2pix",
    (4, 1024): _OF_VELOCITY,
    (9, 1024): "stabilityai/stable-diffusion-2-inpainting",
    (4, 1280): "stabilityai/stable-diffusion-xl-refiner-1.0",
    (4, 2048): "stabilityai/stable-diffusion-xl-base-1.0",
    (9, 2048): "diffusers/stable-diffusion-xl-1.0-inpainting-0.1",
}
"""Repositories of UNets, by how deep latents they take and how wide texts."""

_KONTEXT, _QWEN_EDIT = "black-forest-labs/FLUX.1-Kontext-dev", "Qwen/Qwen-Image-Edit"
_BY_NAME = {
    "black-forest-labs/FLUX.1-dev": {"kontext": _KONTEXT},
    "black-forest-labs/FLUX.1-Depth-dev": {"canny": "black-forest-labs/FLUX.1-Canny-dev"},
    "Qwen/Qwen-Image": {
        "edit.?2511": f"{_QWEN_EDIT}-2511", "edit.?2509": f"{_QWEN_EDIT}-2509", "edit": _QWEN_EDIT,
    },
}  # fmt: skip
"""Repositories whose files differ from another's by their own names alone, the first that fits."""


class _Weight(NamedTuple):
    shape: tuple[int, ...]


class _Layout(NamedTuple):
    """What names and shapes tell: whose configs go with them, and whether they work over time."""

    config: str | None = None
    is_deep: bool = False


_sections: dict[Path, tuple[Stamp | None, frozenset[str]]] = {}
_layouts: dict[Path, tuple[Stamp | None, _Layout]] = {}


def config_of(file: Path) -> str | None:
    """The repository whose configs a single file of weights goes with; None if nothing tells.

    Raises:
        CardError: it is no whole file of weights.
    """
    return _layout_of(file).config


def makes_videos(file: Path) -> bool:
    """Whether a single file is known for a denoiser that convolves over time.

    Raises:
        CardError: it is no whole file of weights.
    """
    layout = _layout_of(file)
    return layout.config is not None and layout.is_deep


def _layout_of(file: Path) -> _Layout:
    stamp = stamp_of(file)
    known, layout = _layouts.get(file, (None, _Layout()))
    if stamp is None or known != stamp:
        shapes = shapes_of(file)
        found = None if is_no_model(shapes) else _recognized(shapes)
        found = _OF_NOISE if found == _OF_VELOCITY and predicts_noise(file) else found
        named = _BY_NAME.get(str(found), {}).items()
        found = next((own for name, own in named if re.search(name, file.stem, re.I)), found)
        layout = _Layout(found, _is_deep(shapes))
        _layouts[file] = stamp, layout
    return layout


def _is_deep(shapes: Shapes) -> bool:
    """Whether a denoiser convolves over time; autoencoders and readers of pictures may all do."""
    return any(
        len(shape) == OVER_TIME and not name.startswith(_WHOLE) for name, shape in shapes.items()
    )


def sections_of(file: Path) -> frozenset[str]:
    """The keys of `SECTIONS` that a single file has weights of, and whether of a denoiser.

    What is in none of the sections of a whole model is one's.

    Raises:
        CardError: it is no whole file of weights.
    """
    stamp = stamp_of(file)
    known, found = _sections.get(file, (None, frozenset()))
    if stamp is None or known != stamp:
        found = sections_among(shapes_of(file))
        _sections[file] = stamp, found
    return found


def sections_among(names: Iterable[str]) -> frozenset[str]:
    """The same of weights by their names."""
    found = {key for name in names for key in _keys(name)}
    return frozenset(found)


def _keys(name: str) -> Iterator[str]:
    if not name.startswith(_WHOLE):
        yield DENOISER
    yield from (key for key, starts in SECTIONS.items() if name.startswith(starts))


def section_of(name: str, cls: str) -> str | None:
    """Where a whole model would have the weights of a part; None where no layout has them."""
    if cls.endswith(NO_MODULE):
        return None
    if name == "vae":
        return name
    if name.startswith(("text_encoder", "image_encoder", "safety_checker")):
        return next((key for key in SECTIONS if cls.startswith(key)), None)
    return DENOISER


def _recognized(shapes: Shapes) -> str | None:
    plain = {name.removeprefix(PREFIX): shape for name, shape in shapes.items()}
    for mark, (measured, repositories) in _OTHERS.items():
        if mark in plain and measured in plain:
            return repositories.get(plain[measured][0])
    if sections_among(shapes) == {DENOISER} and (found := _unet_alone(plain)):
        return found
    known = _diffusers_layouts()
    weights = {name: _Weight(shape) for name, shape in shapes.items()}
    try:
        kind = known.infer_diffusers_model_type(weights)
    except (LookupError, ValueError, UnboundLocalError):  # names it knows, in strange shapes
        return None
    if kind == _FALLBACK and known.CHECKPOINT_KEY_NAMES[_FALLBACK] not in shapes:
        return None
    path: str = known.DIFFUSERS_DEFAULT_PIPELINE_PATHS[kind]["pretrained_model_name_or_path"]
    return path


def _unet_alone(plain: Shapes) -> str | None:
    """The repository of a UNet that lies without its other parts, in either spelling."""
    first = next((plain[name] for name in _FIRST if name in plain), ())
    widths = {shape[-1] for name, shape in plain.items() if name.endswith(_READS_TEXT)}
    depth = first[1] if len(first) == 4 else None
    return _UNETS.get((depth, *widths)) if depth else None


@cache
def _diffusers_layouts() -> SimpleNamespace:
    """What diffusers knows of layouts, taken out of a module that would import torch."""
    place = diffusers_folder()
    text = (place / "loaders" / "single_file_utils.py").read_text() if place else ""
    wanted = [node for node in ast.parse(text).body if _name(node) in _KNOWLEDGE]
    found: dict[str, Any] = {}
    exec(compile(ast.Module(wanted, []), str(place), "exec"), found)
    return SimpleNamespace(**{name: found[name] for name in _KNOWLEDGE})


def _name(node: ast.stmt) -> str | None:
    match node:
        case ast.FunctionDef(name=name) | ast.Assign(targets=[ast.Name(id=name)]):
            return name
    return None
