"""Pictures and masks in newer nodes: resized by a rule, outlined, batched, saved in a format."""

from typing import Any

import msgspec

from gateway.runs.graph.bounds import check_picture
from gateway.runs.graph.definition import (
    ANY,
    Definition,
    Input,
    edge,
    label,
    left_out,
    one_of,
    real,
    whole,
)
from gateway.runs.graph.imaging import empty, encode, gathered
from gateway.runs.graph.scope import Compile, Node, Scope
from gateway.runs.graph.values import (
    Change,
    Conditioning,
    Edges,
    Latent,
    Mask,
    Output,
    Picture,
    Resize,
)

_IMAGE, _MASK = Input("IMAGE"), Input("MASK")
_CONDITIONING, _VAE = Input("CONDITIONING"), Input("VAE")
_METHOD = one_of("nearest-exact", "bilinear", "area", "bicubic", "lanczos")
MAX_BATCHED = 16
MAX_GROWTH = 1024
BY = "resize_type"
RULES = {
    "scale dimensions": ("width", "height", "crop"),
    "scale by multiplier": ("multiplier",),
    "scale longer dimension": ("longer_size",),
    "scale shorter dimension": ("shorter_size",),
    "scale width": ("width",),
    "scale height": ("height",),
    "scale total pixels": ("megapixels",),
    "scale to multiple": ("multiple",),
}
"""Ways to resize, and what each is told."""

FORMATS = {"png": "png", "jpeg": "jpg", "jpg": "jpg", "webp": "webp"}

SHAPES = {
    "ResizeImageMaskNode": Definition(
        {
            "input": Input(ANY),
            BY: one_of(*RULES),
            f"{BY}.width": left_out(whole(0, 0, 16_384)),
            f"{BY}.height": left_out(whole(0, 0, 16_384)),
            f"{BY}.crop": left_out(one_of("disabled", "center")),
            f"{BY}.multiplier": left_out(real(1.0, 0.01, 8)),
            f"{BY}.longer_size": left_out(whole(0, 0, 16_384)),
            f"{BY}.shorter_size": left_out(whole(0, 0, 16_384)),
            f"{BY}.megapixels": left_out(real(1.0, 0.01, 16)),
            f"{BY}.multiple": left_out(whole(8, 1, 16_384)),
            "scale_method": left_out(_METHOD),
        },
        (ANY,),
    ),
    "ImageScaleToMaxDimension": Definition(
        {"image": _IMAGE, "upscale_method": _METHOD, "largest_size": whole(512, 0, 16_384)},
        ("IMAGE",),
    ),
    "Canny": Definition(
        {
            "image": _IMAGE,
            "low_threshold": real(0.4, 0.01, 0.99),
            "high_threshold": real(0.8, 0.01, 0.99),
        },
        ("IMAGE",),
    ),
    "BatchImagesNode": Definition(
        {"images.image0": _IMAGE}
        | {f"images.image{number}": left_out(_IMAGE) for number in range(1, MAX_BATCHED)},
        ("IMAGE",),
    ),
    "GrowMask": Definition(
        {
            "mask": _MASK,
            "expand": whole(0, -16_384, 16_384),
            "tapered_corners": Input("BOOLEAN", True),
        },
        ("MASK",),
    ),
    "InpaintModelConditioning": Definition(
        {
            "positive": _CONDITIONING,
            "negative": _CONDITIONING,
            "vae": _VAE,
            "pixels": _IMAGE,
            "mask": _MASK,
            "noise_mask": left_out(Input("BOOLEAN", True)),
        },
        ("CONDITIONING", "CONDITIONING", "LATENT"),
    ),
    "EmptyChromaRadianceLatentImage": Definition(
        {"width": edge(1024), "height": edge(1024), "batch_size": whole(1, 1, 4096)}, ("LATENT",)
    ),
    "SaveImageAdvanced": Definition(
        {
            "images": _IMAGE,
            "filename_prefix": label("ComfyUI"),
            "format": left_out(Input("COMBO", "png", options=tuple(FORMATS))),
        },
        ("IMAGE",),
        is_output=True,
    ),
}


def resize(node: Node, scope: Scope) -> tuple[Picture | Mask]:
    """ResizeImageMaskNode: a picture, or the picture that a mask is a part of."""
    given: Any = node["input"]
    told = {name: node.get(f"{BY}.{name}") for name in RULES[node[BY]]}
    change = _rule(node, told)
    if isinstance(given, Mask):
        return (msgspec.structs.replace(given, picture=_changed(given.picture, change)),)
    if not isinstance(given, Picture):
        raise node.refuse("input", "a picture or a mask is wanted")
    return (_changed(given, change),)


def _rule(node: Node, told: dict[str, Any]) -> Resize:
    method = node.get("scale_method")
    match node[BY]:
        case "scale by multiplier":
            return Resize(method=method, factor=told["multiplier"])
        case "scale total pixels":
            return Resize(method=method, megapixels=told["megapixels"])
        case "scale to multiple":
            return Resize(method=method, multiple_of=told["multiple"])
        case "scale longer dimension":
            return Resize(method=method, longer=told["longer_size"])
        case "scale shorter dimension":
            return Resize(method=method, shorter=told["shorter_size"])
    width, height = told.get("width", 0), told.get("height", 0)
    return Resize(method=method, width=width, height=height, crop=told.get("crop") == "center")


def scale_to_longest(node: Node, scope: Scope) -> tuple[Picture]:
    """ImageScaleToMaxDimension."""
    change = Resize(method=node["upscale_method"], longer=node["largest_size"])
    return (_changed(node["image"], change),)


def outline(node: Node, scope: Scope) -> tuple[Picture]:
    """Canny: what a ControlNet of edges is shown."""
    return (_changed(node["image"], Edges(node["low_threshold"], node["high_threshold"])),)


def batch(node: Node, scope: Scope) -> tuple[Picture]:
    """BatchImagesNode: any number of pictures, in order."""
    given = (node.get(f"images.image{number}") for number in range(MAX_BATCHED))
    return (gathered(node, *(one for one in given if isinstance(one, Picture))),)


def grow(node: Node, scope: Scope) -> tuple[Mask]:
    """GrowMask: outwards; corners grow square."""
    mask: Mask = node["mask"]
    if node["expand"] < 0:
        raise node.refuse("expand", "a mask grows here, it does not shrink")
    if mask.grow + node["expand"] > MAX_GROWTH:
        raise node.refuse("expand", f"a mask grows by up to {MAX_GROWTH} pixels")
    return (msgspec.structs.replace(mask, grow=mask.grow + node["expand"]),)


def inpaint(node: Node, scope: Scope) -> tuple[Conditioning, Conditioning, Latent]:
    """InpaintModelConditioning: an inpainting pipeline is shown the picture and mask itself."""
    (latent,) = encode(node, scope)
    return (
        node["positive"],
        node["negative"],
        msgspec.structs.replace(latent, mask=node["mask"]),
    )


def save(node: Node, scope: Scope) -> tuple[Picture, Output]:
    """SaveImageAdvanced: eight bits a channel, sRGB."""
    scope.tally.kept(node["images"])
    output = Output(
        node_id=node.id,
        class_type=node.class_type,
        picture=node["images"],
        prefix=node["filename_prefix"],
        file_type=FORMATS[node.get("format", "png")],
    )
    return node["images"], output


def _changed(picture: Picture, change: Change) -> Picture:
    return check_picture("input", picture.then(change))


COMPILERS: dict[str, Compile] = {
    "ResizeImageMaskNode": resize,
    "ImageScaleToMaxDimension": scale_to_longest,
    "Canny": outline,
    "BatchImagesNode": batch,
    "GrowMask": grow,
    "InpaintModelConditioning": inpaint,
    "EmptyChromaRadianceLatentImage": empty,
    "SaveImageAdvanced": save,
}
