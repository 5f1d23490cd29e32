"""Hugging Face's inference dialect: a prompt or a picture in, a picture's bytes out."""

from typing import Any

import msgspec
from litestar import Request, Response, post
from litestar.params import FromPath

from gateway.errors import InvalidType, InvalidValue
from gateway.outside.inline import inline_bytes, is_inline
from gateway.outside.parameters import read_request
from gateway.outside.spelling import is_absent
from gateway.outside.unread import unread
from gateway.studio import Format, Picture, Rendering
from gateway.web.door.answers.accepting import preferred
from gateway.web.door.answers.content import Content
from gateway.web.door.answers.schema import documented_picture
from gateway.web.door.bodies.bodies import read_json
from gateway.web.door.bodies.uploads import Upload, check_size
from gateway.web.door.desk import Desk
from gateway.web.door.jobs import job_of
from gateway.web.huggingface.faults import InferenceFault
from gateway.web.openai.wire import resample_headers

FORMATS: dict[str, Format] = {"image/png": "png", "image/jpeg": "jpeg", "image/webp": "webp"}
OF_THE_HUB = frozenset({"use_cache", "wait_for_model", "options"})


class InferenceBody(msgspec.Struct, frozen=True):
    """`POST /models/{id}`; `inputs` are the prompt, or a picture in base64 to be redrawn.

    `parameters` are those of any dialect; for a picture, `prompt` among them.
    """

    inputs: str
    parameters: dict[str, Any] | None = None


def routes(desk: Desk) -> list[Any]:
    """The dialect's route handlers."""

    @post(
        ["/models/{model_id:path}", "/"],
        status_code=200,
        operation_class=documented_picture(InferenceBody, InferenceFault),
        tags=["huggingface"],
    )
    async def infer(
        request: Request[Any, Any, Any], model_id: FromPath[str] = ""
    ) -> Response[Any]:
        """Draw one picture and answer its bytes; Hugging Face's inference."""
        caller = await desk.admit(request)
        inputs, fields = _read(await read_json(request))
        model = desk.resolve(model_id.strip("/") or None, caller)
        upload = Upload(fields, [])
        if is_inline(inputs):
            data = await desk.darkroom.do(inline_bytes, inputs, "inputs")
            check_size(len(data), "inputs")
            upload = Upload(fields, [data])
        elif inputs:
            fields["prompt"] = inputs
        asked = read_request(fields)
        if asked.n > 1:
            raise InvalidValue("n", str(asked.n), "1, since one picture's bytes are answered")
        remarks = unread(fields, edits=bool(upload.images))
        terms = desk.terms(request, caller, remarks)
        job = await job_of(desk, request, asked, model, upload, terms)
        kind = preferred(request.headers.get("accept", ""), list(FORMATS)) or "image/png"

        async def respond(pictures: list[Picture]) -> Content:
            return Content((pictures[0].data,))

        headers = resample_headers(job) | {"content-type": kind, "x-seed": str(job.seeds[0])}
        return await desk.answer(request, caller, job, Rendering(FORMATS[kind]), respond, headers)

    return [infer]


def _read(given: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """What is drawn from, and the parameters under the names that all dialects share.

    Raises:
        InvalidType: they are none.
    """
    inputs, parameters = given.get("inputs"), given.get("parameters")
    if is_absent(inputs):
        inputs = ""
    if not isinstance(inputs, str):
        raise InvalidType("inputs", "a string", type(inputs).__name__)
    if is_absent(parameters):
        parameters = {}
    if not isinstance(parameters, dict):
        raise InvalidType("parameters", "an object", type(parameters).__name__)
    others = {name: value for name, value in given.items() if name not in ("inputs", "parameters")}
    fields = {
        name: value
        for name, value in {**others, **parameters}.items()
        if name not in OF_THE_HUB
    }
    if not is_absent(size := fields.pop("target_size", None)):
        fields["size"] = size
    return inputs, fields
