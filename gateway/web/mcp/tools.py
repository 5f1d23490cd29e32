"""What the tools are, and drawing for them; needs no SDK."""

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any, Literal

import msgspec
from litestar import Request
from msgspec import UNSET

from gateway.accounts.limits import Caller
from gateway.errors import InvalidValue, MissingParameter
from gateway.job import StepDone
from gateway.outside.parameters import read_request
from gateway.outside.spelling import is_absent
from gateway.outside.unread import unread
from gateway.studio import Picture, Rendering
from gateway.web.door.bodies.sources import sources_of
from gateway.web.door.bodies.uploads import Upload, named_picture
from gateway.web.door.desk import Desk, warnings_of
from gateway.web.door.jobs import job_of
from gateway.web.openai.wire import ENCODINGS

Kind = Literal["generate", "edit"]
Report = Callable[[float, float | None, str | None], Awaitable[None]]
"""Tells the agent how far its picture is: done, of how much, in words."""

MAX_PICTURES = 4
_PICTURE = {"type": "string", "description": "a URL, a data URL or base64"}
_FIELDS: dict[str, Any] = {
    "prompt": {"type": "string", "description": "what the picture shows"},
    "model": {"type": "string", "description": "an id of list_models; absent: the first"},
    "size": {"type": "string", "description": "WIDTHxHEIGHT in pixels; absent: the model's own"},
    "n": {"type": "integer", "minimum": 1, "maximum": MAX_PICTURES, "description": "pictures"},
    "seed": {"type": "integer", "description": "draws the same picture again"},
    "steps": {"type": "integer", "description": "within the model's range"},
    "guidance_scale": {"type": "number"},
    "negative_prompt": {"type": "string", "description": "what it does not show"},
    "background": {"type": "string", "enum": ["opaque", "transparent", "auto"]},
    "output_format": {"type": "string", "enum": ["png", "jpeg", "webp"]},
}
_EDITED = {
    "image": _PICTURE | {"description": "what is edited: a URL, a data URL or base64"},
    "mask": _PICTURE | {"description": "white, or transparent, where it is edited"},
    "strength": {"type": "number", "minimum": 0, "maximum": 1, "description": "how much changes"},
}


def _takes(fields: dict[str, Any], *required: str) -> dict[str, Any]:
    return {"type": "object", "properties": fields, "required": list(required)}


TOOLS: dict[str, tuple[str, dict[str, Any]]] = {
    "generate_image": ("Draw pictures from words.", _takes(_FIELDS, "prompt")),
    "edit_image": ("Redraw a picture.", _takes(_EDITED | _FIELDS, "image", "prompt")),
    "list_models": ("The models there are, and what each takes.", _takes({})),
}
"""By name: what a tool does and what it takes."""


class Drawn(msgspec.Struct, frozen=True):
    """Finished pictures with their URLs, None where the store did not take one."""

    model: str
    pictures: list[Picture]
    urls: list[str | None]

    def facts(self) -> dict[str, Any]:
        """What is to be known of them beside their pixels."""
        images = [
            {"url": url, "seed": each.seed, "width": each.width, "height": each.height}
            for each, url in zip(self.pictures, self.urls, strict=True)
        ]
        warnings = msgspec.to_builtins(warnings_of(self.pictures))
        return {"model": self.model, "images": images, "warnings": warnings}


async def drawing(
    desk: Desk,
    request: Request[Any, Any, Any],
    caller: Caller,
    kind: Kind,
    arguments: dict[str, Any],
    report: Report,
) -> Drawn:
    """Draw what a tool was asked for; cancelling it stops the engine at its next step.

    Raises:
        GatewayError: it cannot be drawn.
    """
    fields = dict(arguments)
    given = fields.pop("output_format", None)
    format = "png" if is_absent(given) else ENCODINGS.get(str(given).strip().lower())
    if format is None:
        raise InvalidValue("output_format", given, "png, jpeg, webp")
    model_id = fields.pop("model", None)
    model = desk.resolve(None if is_absent(model_id) else str(model_id), caller)
    upload = await _upload(desk, request, caller, fields, kind)
    asked = read_request(upload.fields)
    if asked.n > MAX_PICTURES:
        raise InvalidValue("n", asked.n, f"1 to {MAX_PICTURES}")
    terms = desk.terms(request, caller, unread(upload.fields, edits=kind == "edit"))
    job = await job_of(desk, request, asked, model, upload, terms)
    total = job.num_inference_steps * len(job.seeds)
    pictures: list[Picture] = []
    done: dict[int, int] = {}
    async with (
        desk.let_in(request, caller, job),
        aclosing(desk.stream(request, job, Rendering(format))) as drawn,
    ):
        async for item in drawn:
            if isinstance(item, Picture):
                pictures.append(item)
            elif isinstance(item, StepDone):
                done[item.sample] = item.step
                step = sum(done.values())
                await report(step, total, f"step {step} of {total}")
    pictures.sort(key=lambda picture: picture.sample)
    urls = [await desk.try_keep(request, picture) for picture in pictures]
    return Drawn(model.id, pictures, [None if url is UNSET else str(url) for url in urls])


async def _upload(
    desk: Desk,
    request: Request[Any, Any, Any],
    caller: Caller,
    fields: dict[str, Any],
    kind: Kind,
) -> Upload:
    """The fields, and of an edit the pictures that they name."""
    if kind == "generate":
        return Upload(fields, [])
    sources = sources_of(desk, request, caller.id)
    image, mask = fields.pop("image", None), fields.pop("mask", None)
    if is_absent(image):
        raise MissingParameter("image")
    data = await named_picture(image, "image", sources)
    beside = None if is_absent(mask) else await named_picture(mask, "mask", sources)
    return Upload(fields, [data], beside)


def models_of(desk: Desk, caller: Caller) -> list[dict[str, Any]]:
    """The models that a caller may use, as much of each as an agent wants to know."""
    return [
        {
            "id": model.id,
            "description": (model.adapter or model.endpoint).description,
            "edits": model.endpoint.edits,
            "size": "{}x{}".format(*model.endpoint.sizes.native),
            "steps": {
                "min": model.endpoint.steps.min,
                "max": model.endpoint.steps.max,
                "default": model.endpoint.steps.default,
            },
        }
        for model in desk.catalog.models()
        if caller.may_use(model)
    ]
