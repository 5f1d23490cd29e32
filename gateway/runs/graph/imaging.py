"""Pictures: loaded, changed, encoded to latents and back, saved."""

from typing import Any

import msgspec

from gateway.runs.graph.bounds import check_picture, check_size
from gateway.runs.graph.scope import Compile, Node, Scope
from gateway.runs.graph.values import (
    MAX_IMAGES,
    Change,
    Crop,
    Edge,
    Gathered,
    Invert,
    Latent,
    Mask,
    Output,
    Pad,
    Picture,
    Resize,
)

LATENT_CELL = 8
"""Pixels that one cell of a latent stands for, each way."""


def load(node: Node, scope: Scope) -> tuple[Picture, Mask]:
    """LoadImage: the picture, and what its alpha channel leaves open."""
    picture = scope.loaded("image", _file(node["image"]))
    return picture, Mask(picture)


def load_mask(node: Node, scope: Scope) -> tuple[Mask]:
    """LoadImageMask: one channel of a picture."""
    return (Mask(scope.loaded("image", _file(node["image"])), node["channel"]),)


def to_mask(node: Node, scope: Scope) -> tuple[Mask]:
    """ImageToMask: one channel of a picture."""
    return (Mask(node["image"], node["channel"]),)


def invert(node: Node, scope: Scope) -> tuple[Picture]:
    """ImageInvert."""
    return (_changed(node, "image", node["image"], Invert()),)


def scale(node: Node, scope: Scope) -> tuple[Picture]:
    """ImageScale: an edge of 0 keeps the aspect."""
    change = Resize(
        method=node["upscale_method"],
        width=node["width"],
        height=node["height"],
        crop=node["crop"] == "center",
    )
    return (_changed(node, "width", node["image"], change),)


def scale_by(node: Node, scope: Scope) -> tuple[Picture]:
    """ImageScaleBy."""
    change = Resize(method=node["upscale_method"], factor=node["scale_by"])
    return (_changed(node, "scale_by", node["image"], change),)


def scale_to_pixels(node: Node, scope: Scope) -> tuple[Picture]:
    """ImageScaleToTotalPixels: a megapixel is 1024 x 1024."""
    change = Resize(
        method=node["upscale_method"],
        megapixels=node["megapixels"],
        multiple_of=node.get("resolution_steps", 1),
    )
    return (_changed(node, "megapixels", node["image"], change),)


def gather(node: Node, scope: Scope) -> tuple[Picture]:
    """ImageBatch: two pictures, or batches of them, as one."""
    return (gathered(node, node["image1"], node["image2"]),)


def gathered(node: Node, *pictures: Picture) -> Picture:
    """Pictures as one batch, which has the size of the first."""
    count = sum(picture.num_images for picture in pictures)
    if count > MAX_IMAGES:
        raise node.refuse("images", f"a batch has up to {MAX_IMAGES} pictures, not {count}")
    found = Picture(Gathered(pictures), num_images=count, size=pictures[0].size)
    return check_picture("images", found)


def _changed(node: Node, name: str, picture: Picture, change: Change) -> Picture:
    """A picture with one more change, which input `name` of the node asks for."""
    return check_picture(name, picture.then(change))


def crop(node: Node, scope: Scope) -> tuple[Picture]:
    """ImageCrop."""
    change = Crop(node["x"], node["y"], node["width"], node["height"])
    return (_changed(node, "image", node["image"], change),)


def pad(node: Node, scope: Scope) -> tuple[Picture, Mask]:
    """ImagePadForOutpaint: a larger picture, and the mask of what is new in it."""
    change = Pad(
        left=node["left"],
        top=node["top"],
        right=node["right"],
        bottom=node["bottom"],
        feather=node["feathering"],
    )
    padded = _changed(node, "image", node["image"], change)
    return padded, Mask(padded)


def concatenate(node: Node, scope: Scope) -> tuple[str]:
    """StringConcatenate."""
    parts = node["string_a"], node["string_b"]
    scope.tally.length("string_b", sum(map(len, parts)) + len(node["delimiter"]))
    return (node["delimiter"].join(parts),)


def scale_for_kontext(node: Node, scope: Scope) -> tuple[Picture]:
    """FluxKontextImageScale: near a megapixel; the pipeline picks its own of its sizes."""
    change = Resize(method="lanczos", megapixels=1.0, multiple_of=16)
    return (_changed(node, "image", node["image"], change),)


def empty(node: Node, scope: Scope) -> tuple[Latent]:
    """EmptyLatentImage and its kin of other families."""
    width, height, count = node["width"], node["height"], node["batch_size"]
    if isinstance(width, Edge) or isinstance(height, Edge):
        return (_as_large_as(node, width, height),)
    return (Latent(node_id=node.id, width=width, height=height, num_images=count),)


def _as_large_as(node: Node, width: int | Edge, height: int | Edge) -> Latent:
    """Emptiness as large as a picture that is not there yet."""
    if not (isinstance(width, Edge) and height == Edge(width.picture, "height")):
        raise node.refuse("width", "width and height are those of one picture, or numbers")
    count: int = node["batch_size"]
    return Latent(node_id=node.id, picture=width.picture, num_images=count, is_empty=True)


def encode(node: Node, scope: Scope) -> tuple[Latent]:
    """VAEEncode, also in tiles: the pipeline encodes the picture itself."""
    picture: Picture = node["pixels"]
    return (Latent(node_id=node.id, picture=picture, num_images=picture.num_images),)


def encode_for_inpaint(node: Node, scope: Scope) -> tuple[Latent]:
    """VAEEncodeForInpaint: the mask grown by a few pixels."""
    mask = msgspec.structs.replace(node["mask"], grow=node["grow_mask_by"])
    (latent,) = encode(node, scope)
    return (msgspec.structs.replace(latent, mask=mask),)


def noise_mask(node: Node, scope: Scope) -> tuple[Latent]:
    """SetLatentNoiseMask: only the masked part is redrawn."""
    latent: Latent = node["samples"]
    if latent.picture is None or latent.is_empty:
        raise node.refuse("samples", "a mask needs a picture to lie on")
    return (msgspec.structs.replace(latent, mask=node["mask"]),)


def repeat(node: Node, scope: Scope) -> tuple[Latent]:
    """RepeatLatentBatch: as many pictures more."""
    latent: Latent = node["samples"]
    if latent.picture is not None and latent.picture.num_images > 1:
        raise node.refuse("samples", "one picture can be repeated, these are several")
    count = latent.num_images * node["amount"]
    if count > MAX_IMAGES:
        raise node.refuse("amount", f"a batch has up to {MAX_IMAGES} pictures, not {count}")
    return (msgspec.structs.replace(latent, num_images=count),)


def upscale_latent(node: Node, scope: Scope) -> tuple[Latent]:
    """LatentUpscale: an edge of 0 keeps the aspect."""
    size = {"width": node["width"], "height": node["height"]}
    return (_scaled(node, scope, Resize(**_latent(node), **size, crop=node["crop"] == "center")),)


def upscale_latent_by(node: Node, scope: Scope) -> tuple[Latent]:
    """LatentUpscaleBy."""
    return (_scaled(node, scope, Resize(**_latent(node), factor=node["scale_by"])),)


def _latent(node: Node) -> dict[str, Any]:
    """Latents are scaled as pictures, in whole latent cells."""
    method = node["upscale_method"]
    return {"method": "bicubic" if method == "bislerp" else method, "multiple_of": LATENT_CELL}


def _scaled(node: Node, scope: Scope, change: Resize) -> Latent:
    """A latent of another size: emptiness, or the pictures scaled with their mask."""
    latent: Latent = node["samples"]
    if latent.picture is None:
        width, height = change.target(latent.width, latent.height)
        check_size("samples", (width, height))
        return msgspec.structs.replace(latent, node_id=node.id, width=width, height=height)
    scope.note(node, "the pictures are scaled rather than their latents")
    mask = latent.mask
    if mask is not None and change.crop:
        mask = msgspec.structs.replace(
            mask, picture=_changed(node, "samples", mask.picture, change)
        )
    picture = _changed(node, "samples", latent.picture, change)
    return msgspec.structs.replace(latent, node_id=node.id, picture=picture, mask=mask)


def decode(node: Node, scope: Scope) -> tuple[Picture]:
    """VAEDecode, also in tiles: what was sampled; a picture encoded and decoded again is itself."""
    latent: Latent = node["samples"]
    if latent.picture is None or latent.is_empty:
        raise node.refuse("samples", "an empty latent was never sampled")
    return (latent.picture,)


def save(node: Node, scope: Scope) -> tuple[Output]:
    """SaveImage: PNG."""
    scope.tally.kept(node["images"])
    output = Output(
        node_id=node.id,
        class_type=node.class_type,
        picture=node["images"],
        prefix=node["filename_prefix"],
    )
    return (output,)


def preview(node: Node, scope: Scope) -> tuple[Output]:
    """PreviewImage: rendered, and reported to those alone who ask for it."""
    scope.tally.kept(node["images"])
    output = Output(
        node_id=node.id,
        class_type=node.class_type,
        picture=node["images"],
        prefix="ComfyUI_temp",
        temporary=True,
    )
    return (output,)


def deploy_output(node: Node, scope: Scope) -> tuple[Output]:
    """ComfyDeployOutputImage: with a format and an output id."""
    scope.tally.kept(node["images"])
    output = Output(
        node_id=node.id,
        class_type=node.class_type,
        picture=node["images"],
        prefix=node["filename_prefix"],
        file_type=node["file_type"],
        quality=node["quality"],
        output_id=node["output_id"],
    )
    return (output,)


def _file(name: str) -> str:
    """A file's name without ComfyUI's note of its folder: `a.png [input]`."""
    for folder in (" [input]", " [output]", " [temp]"):
        name = name.removesuffix(folder)
    return name


def value(node: Node, scope: Scope) -> tuple[Any]:
    """A primitive is its value."""
    return (node["value"],)


COMPILERS: dict[str, Compile] = {
    "LoadImage": load,
    "LoadImageMask": load_mask,
    "ImageToMask": to_mask,
    "ImageInvert": invert,
    "ImageBatch": gather,
    "ImageCrop": crop,
    "ImagePadForOutpaint": pad,
    "ImageScale": scale,
    "ImageScaleBy": scale_by,
    "ImageScaleToTotalPixels": scale_to_pixels,
    "FluxKontextImageScale": scale_for_kontext,
    "EmptyLatentImage": empty,
    "EmptySD3LatentImage": empty,
    "EmptyFlux2LatentImage": empty,
    "VAEEncode": encode,
    "VAEEncodeTiled": encode,
    "VAEEncodeForInpaint": encode_for_inpaint,
    "SetLatentNoiseMask": noise_mask,
    "RepeatLatentBatch": repeat,
    "LatentUpscale": upscale_latent,
    "LatentUpscaleBy": upscale_latent_by,
    "VAEDecode": decode,
    "VAEDecodeTiled": decode,
    "SaveImage": save,
    "PreviewImage": preview,
    "ComfyDeployOutputImage": deploy_output,
    "PrimitiveInt": value,
    "PrimitiveFloat": value,
    "PrimitiveString": value,
    "PrimitiveStringMultiline": value,
    "PrimitiveBoolean": value,
    "StringConcatenate": concatenate,
}
