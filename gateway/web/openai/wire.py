"""OpenAI's wire format of pictures: bodies, answers, and how an answer is to look."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from gateway.errors import InvalidValue, UnsupportedValue
from gateway.images.receipt import Receipt
from gateway.job import Job
from gateway.outside.parameters import fold
from gateway.outside.spelling import Words
from gateway.outside.unread import unread
from gateway.remarks import Remark, no_effect
from gateway.studio import Format, Rendering
from gateway.web.door.answers.accepting import preferred
from gateway.web.door.bodies.bodies import Asked
from gateway.web.door.desk import Desk
from gateway.web.openai.usage import Usage

QUALITY = "high"
"""What an answer's quality is called where an endpoint has but one, whatever was asked for."""

ENCODINGS: dict[str, Format] = {"png": "png", "jpeg": "jpeg", "jpg": "jpeg", "webp": "webp"}
RESPONSE_FORMATS = ("url", "b64_json", "raw", "png", "jpeg", "jpg", "webp")
MAX_COMPRESSION = 100
IN_JSON = ("application/json", "text/event-stream")
"""Content types whose answers carry pictures in base64."""

DEPLOYMENT = "/deployments/{deployment:str}"
"""How Azure's clients name the model, before a route that else stands under `/v1`."""

SPELLINGS = {"base64": "b64_json"}
BASE64_ONLY = ("gpt-image", "chatgpt-image")
"""How OpenAI's ids begin whose pictures have no URL; clients that know them take one for theirs."""


class ImageGenerationBody(msgspec.Struct, frozen=True):
    """`POST /v1/images/generations`. Unknown and null fields are ignored.

    What the card of the endpoint bounds (size, steps, guidance) is checked against it.
    """

    prompt: Annotated[Words, Meta(description="what to draw")]
    model: Annotated[str | None, Meta(description="`endpoint` or `endpoint:adapter`")] = None
    n: Annotated[int, Meta(ge=1, le=10, description="pictures")] = 1
    size: Annotated[str | None, Meta(description="`auto` or `WIDTHxHEIGHT` in pixels")] = None
    quality: Annotated[Any, Meta(description="as /v1/models lists it of the endpoint")] = None
    background: Literal["transparent", "opaque", "auto"] | None = None
    output_format: Annotated[str | None, Meta(description="png, jpeg or webp")] = None
    output_compression: Annotated[
        int, Meta(ge=0, le=100, description="quality of jpeg and webp, in percent")
    ] = MAX_COMPRESSION
    response_format: Annotated[
        str | None, Meta(description="url, b64_json, raw, png, jpeg; absent: url and b64_json")
    ] = None
    stream: bool = False
    partial_images: Annotated[int, Meta(ge=0, le=3, description="previews while streaming")] = 0
    moderation: Annotated[Any, Meta(description="without effect")] = None
    style: Annotated[Any, Meta(description="without effect")] = None
    user: Annotated[Any, Meta(description="without effect")] = None
    safety_identifier: Annotated[str | None, Meta(description="said again in the answer")] = None
    seed: Annotated[int | None, Meta(description="null or -1: random")] = None
    num_inference_steps: Annotated[int | None, Meta(description="denoising steps")] = None
    guidance_scale: float | None = None
    true_cfg_scale: float | None = None
    negative_prompt: Words | None = None
    loras: Annotated[Any, Meta(description="adapters by route: `[{name, scale}]`")] = None
    control_images: Annotated[
        Any, Meta(description="pictures for ControlNets: `[{image, controlnet, weight, mode}]`")
    ] = None
    controlnet_weights: Annotated[Any, Meta(description="how strongly each acts, 1 by itself")] = (
        None
    )
    controlnets: Annotated[Any, Meta(description="a ControlNet's name for each")] = None
    timeout: Annotated[float | None, Meta(description="seconds the client will wait")] = None


class ImageItem(msgspec.Struct, frozen=True, kw_only=True):
    """One picture. `width`, `height`, `channels` describe raw pixels.

    `index` and `type` are what Together's clients tell their items by.
    """

    index: int
    type: Literal["url", "b64_json"]
    seed: int
    response_format: str
    receipt: Receipt
    url: str | UnsetType = UNSET
    b64_json: str | UnsetType = UNSET
    width: int | UnsetType = UNSET
    height: int | UnsetType = UNSET
    channels: int | UnsetType = UNSET


class ImagesResponse(msgspec.Struct, frozen=True, kw_only=True):
    """The answer. `rendered_size` differs from `size` where the picture was resampled.

    `warnings` say what was not done as it was asked. `id`, `model` and `object` are Together's.
    """

    id: str
    model: str
    object: Literal["list"] = "list"
    created: int
    data: list[ImageItem]
    background: str = "opaque"
    output_format: str = "png"
    quality: str
    size: str = "auto"
    rendered_size: str | UnsetType = UNSET
    usage: Usage
    safety_identifier: str | UnsetType = UNSET
    warnings: tuple[Remark, ...] = ()


class Wanted(msgspec.Struct, frozen=True):
    """How the answer is to look; `as_bytes` means the picture itself, for `curl -o`."""

    rendering: Rendering
    response_format: str | None
    as_bytes: bool = False
    safety_identifier: str | UnsetType = UNSET

    @classmethod
    def of(cls, body: ImageGenerationBody, accept: str) -> "Wanted":
        """Read it off the body and the `Accept` header.

        Raises:
            InvalidValue: a format that does not exist.
            UnsupportedValue: one of OpenAI's that this gateway does not make.
        """
        as_bytes = _accepted(accept) if body.n == 1 and not body.stream else None
        form = _folded(body.response_format)
        if form is not None and form not in RESPONSE_FORMATS:
            raise InvalidValue("response_format", form, _quoted(RESPONSE_FORMATS))
        encoding = as_bytes or _encoding(_folded(body.output_format))
        if form is None and (body.model or "").startswith(BASE64_ONLY):
            form = "b64_json"
        if form in ENCODINGS:
            encoding = ENCODINGS[form]
        if form == "raw" and not as_bytes:
            encoding = "raw"
        if body.background == "transparent" and encoding == "jpeg":
            raise UnsupportedValue(
                "JPEG knows no transparency; a transparent background needs png or webp.",
                param="background",
            )
        rendering = Rendering(encoding, body.output_compression)
        return cls(rendering, form, as_bytes is not None, body.safety_identifier or UNSET)

    def remarks(
        self, given: dict[str, Any], body: ImageGenerationBody, *, edits: bool = False
    ) -> tuple[Remark, ...]:
        """What is to be said of a body's fields."""
        found = unread(given, *body.__struct_fields__, edits=edits)
        if body.partial_images and not body.stream:
            found += (no_effect("partial_images", "the answer is not streamed"),)
        if self.rendering.format in ("png", "raw") and body.output_compression < MAX_COMPRESSION:
            why = f"{self.rendering.format} loses nothing"
            found += (no_effect("output_compression", why),)
        return found


def of_deployment(request: Asked, given: dict[str, Any]) -> dict[str, Any]:
    """A body whose model is the one that an Azure path names, where it does."""
    if deployment := request.path_params.get("deployment"):
        given["model"] = deployment
    return given


def folded_body(given: dict[str, Any]) -> dict[str, Any]:
    """The body under canonical names; what has forms of its own is read by the intake."""
    folded = fold(given)
    for name in ("size", "loras"):
        folded.pop(name, None)
    if "timeout_seconds" in folded:
        folded["timeout"] = folded.pop("timeout_seconds")
    return folded


def _encoding(name: str | None) -> Format:
    if name is None:
        return "png"
    if name in ("gif", "svg"):
        raise UnsupportedValue(
            f"'{name}' is not made here: png, jpeg, webp.", param="output_format"
        )
    if name not in ENCODINGS:
        raise InvalidValue("output_format", name, _quoted(("png", "jpeg", "webp")))
    return ENCODINGS[name]


def _folded(name: str | None) -> str | None:
    """A format's name as it is known here: `PNG` and `image/png` are png."""
    folded = (name or "").strip().lower().removeprefix("image/")
    return SPELLINGS.get(folded, folded) or None


def _accepted(accept: str) -> Format | None:
    """The picture type that a client prefers to JSON, if any."""
    kind = preferred(accept, (*IN_JSON, *(f"image/{name}" for name in ENCODINGS)))
    return None if kind is None or kind in IN_JSON else ENCODINGS[kind.removeprefix("image/")]


def _quoted(names: tuple[str, ...]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def resample_headers(job: Job) -> dict[str, str]:
    """Says so where the picture was rendered at another size than it is answered in."""
    return {"x-rendered-size": f"{job.width}x{job.height}"} if job.output_size else {}


def quality_of(desk: Desk, job: Job) -> str:
    """What quality a job is drawn in, whatever was asked for."""
    return desk.catalog.endpoint(job.endpoint).quality_at(job.num_inference_steps) or QUALITY


def background_of(job: Job) -> str:
    """What stands behind the subject."""
    return "transparent" if job.matting else "opaque"
