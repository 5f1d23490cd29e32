"""OpenAI's Responses: every input is drawn, and a conversation goes on from its pictures."""

from typing import Any

from litestar import Request, Response, delete, get, post
from litestar.params import FromPath

from gateway.errors import NotFound
from gateway.outside.parameters import read_request
from gateway.outside.values import convert
from gateway.studio import Picture
from gateway.web.door.answers.content import GAP, Content
from gateway.web.door.answers.patience import while_here
from gateway.web.door.answers.schema import documented, refusals
from gateway.web.door.bodies.bodies import read_json
from gateway.web.door.bodies.sources import sources_of
from gateway.web.door.desk import Desk
from gateway.web.door.jobs import job_of
from gateway.web.openai.responses.answer import Answer
from gateway.web.openai.responses.asking import Asking
from gateway.web.openai.responses.kept import KeptAnswers, read_pictures
from gateway.web.openai.responses.stream import Streamed
from gateway.web.openai.responses.wire import (
    IMAGE_CALL,
    ImageCall,
    ResponseBody,
    ResponseDeleted,
    ResponseObject,
)
from gateway.web.openai.wire import ImageGenerationBody, Wanted, folded_body, quality_of


def routes(desk: Desk, kept: KeptAnswers) -> list[Any]:
    """The dialect's route handlers."""

    @post(
        ["/v1/responses", "/responses"],
        status_code=200,
        operation_class=documented(ResponseBody, ResponseObject, streams=True),
        tags=["images"],
    )
    async def respond(request: Request[Any, Any, Any]) -> Response[Any]:
        """Draw what the last input of a user asks for."""
        caller = await desk.admit(request)
        given = await read_json(request)
        asking = Asking(given)
        model = asking.model(desk, caller)
        before = await asking.before(desk, kept, caller) if asking.goes_on(model) else []
        sources = sources_of(desk, request, caller.id)
        upload = await while_here(request, asking.upload(sources, before))
        body = convert(folded_body(upload.fields), ImageGenerationBody)
        wanted = Wanted.of(body, "")
        asked = read_request(upload.fields)
        remarks = wanted.remarks(upload.fields, body, edits=bool(upload.images))
        terms = desk.terms(request, caller, remarks)
        job = await job_of(desk, request, asked, model, upload, terms)
        facts = asking.begun(model.id, body.safety_identifier)
        quality, samples = quality_of(desk, job), range(len(job.seeds))
        calls = [ImageCall.begun(job, sample, wanted, quality) for sample in samples]
        answer = Answer(desk, request, kept, facts, job, calls)
        if body.stream:
            return await Streamed(desk, request, answer).response(caller, job, wanted)

        async def respond_json(pictures: list[Picture]) -> Content:
            whole = await answer.of(pictures)
            return Content.of(whole, [picture.data for picture in pictures])

        return await desk.answer(request, caller, job, wanted.rendering, respond_json, {})

    @get("/v1/responses/{response_id:str}", responses=refusals(404), tags=["images"])
    async def get_response(
        request: Request[Any, Any, Any], response_id: FromPath[str]
    ) -> Response[Any]:
        """An answer again, for as long as its pictures are kept."""
        found = await kept.get(response_id, desk.door.identify(request).id)
        calls = [item for item in found.answer.get("output", ()) if item["type"] == IMAGE_CALL]
        if not calls:
            raise NotFound(f"There is no response '{response_id}'.")
        for item in calls:
            item["result"] = GAP
        return Content.of(found.answer, await read_pictures(desk, found)).response({})

    @delete(
        "/v1/responses/{response_id:str}", status_code=200, responses=refusals(404), tags=["images"]
    )
    async def delete_response(
        request: Request[Any, Any, Any], response_id: FromPath[str]
    ) -> ResponseDeleted:
        """Forget an answer."""
        await kept.get(response_id, desk.door.identify(request).id)
        await kept.delete(response_id)
        return ResponseDeleted(response_id)

    return [respond, get_response, delete_response]
