"""Friendli's wire: what its dedicated endpoints and its container take and answer."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from gateway.images.receipt import Receipt
from gateway.outside.spelling import Words
from gateway.remarks import Remark


class DedicatedImageGenerationBody(msgspec.Struct, frozen=True):
    """`POST /dedicated/v1/images/generations`.

    Steps above the card's maximum are lowered to it, and a header says so: the SDK always
    sends 20.
    """

    model: Annotated[str, Meta(description="`endpoint` or `endpoint:adapter`")]
    prompt: Annotated[Words, Meta(min_length=1)]
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    seed: int | None = None
    response_format: Literal["url", "raw", "png", "jpeg", "jpg"] | None = None
    control_images: Annotated[
        Any, Meta(description="pictures for ControlNets: `[{image, controlnet, weight, mode}]`")
    ] = None
    controlnet_weights: Annotated[Any, Meta(description="how strongly each acts, 1 by itself")] = (
        None
    )
    controlnets: Annotated[Any, Meta(description="a ControlNet's name for each")] = None


class ContainerImageGenerationBody(msgspec.Struct, frozen=True):
    """The container's body; `model` is a bare adapter route, or absent."""

    prompt: Annotated[Words, Meta(min_length=1)]
    model: str | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    seed: int | None = None
    response_format: Literal["raw", "jpeg", "png", "jpg"] | None = None
    control_images: Annotated[
        Any, Meta(description="pictures for ControlNets: `[{image, controlnet, weight, mode}]`")
    ] = None
    controlnet_weights: Annotated[Any, Meta(description="how strongly each acts, 1 by itself")] = (
        None
    )
    controlnets: Annotated[Any, Meta(description="a ControlNet's name for each")] = None


class DedicatedImageEditBody(DedicatedImageGenerationBody, frozen=True, kw_only=True):
    """`POST /dedicated/v1/images/edits`; `image` is `{"image": URL or base64}`, or a list."""

    image: dict[str, str] | list[dict[str, str]]


class ContainerImageEditBody(ContainerImageGenerationBody, frozen=True, kw_only=True):
    """The container's edit; `image` as for the dedicated endpoints."""

    image: dict[str, str] | list[dict[str, str]]


class DedicatedItem(msgspec.Struct, frozen=True, kw_only=True):
    """One picture: a URL or base64, never both, and all items of one kind."""

    seed: int
    response_format: str
    receipt: Receipt
    url: str | UnsetType = UNSET
    b64_json: str | UnsetType = UNSET
    width: int | UnsetType = UNSET
    height: int | UnsetType = UNSET
    channels: int | UnsetType = UNSET


class DedicatedImages(msgspec.Struct, frozen=True):
    """The dedicated answer."""

    created: int
    data: list[DedicatedItem]
    warnings: tuple[Remark, ...] = ()


class ContainerImage(msgspec.Struct, frozen=True, kw_only=True):
    """The container's answer: one picture in base64."""

    image: str
    seed: int
    response_format: str
    width: int
    height: int
    channels: int = 3
    warnings: tuple[Remark, ...] = ()
