"""Chat with a model that draws: the last words are the prompt, and the answer is the picture."""

import time
import uuid
from collections.abc import AsyncGenerator
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, post
from litestar.response import Stream
from msgspec import UNSET, Meta, UnsetType

from gateway.accounts.limits import Caller
from gateway.errors import GatewayError
from gateway.job import Job, StepDone
from gateway.outside.parameters import read_request
from gateway.outside.values import convert
from gateway.remarks import Remark
from gateway.studio import Picture, Rendering
from gateway.web.door.answers.content import GAP, Content
from gateway.web.door.answers.envelope import envelope
from gateway.web.door.answers.patience import while_here
from gateway.web.door.answers.schema import documented
from gateway.web.door.bodies.bodies import Asked, read_json
from gateway.web.door.bodies.sources import sources_of
from gateway.web.door.desk import Desk, warnings_of
from gateway.web.door.jobs import job_of
from gateway.web.openai.conversation import OF_LANGUAGE, last_said
from gateway.web.openai.stream import server_sent, step_comment, streamed
from gateway.web.openai.usage import ChatUsage, Usage
from gateway.web.openai.wire import (
    DEPLOYMENT,
    ImageGenerationBody,
    Wanted,
    folded_body,
    of_deployment,
)

OF_CHAT = OF_LANGUAGE | {"messages"}
DONE = b"data: [DONE]\n\n"


class ChatBody(msgspec.Struct, frozen=True):
    """`POST /v1/chat/completions`, with the fields of image generation beside its own.

    Pictures in the last message of a user are edited; what else is said is not read.
    """

    messages: list[dict[str, Any]]
    model: Annotated[str | None, Meta(description="`endpoint` or `endpoint:adapter`")] = None
    n: int = 1
    stream: bool = False


class ImageUrl(msgspec.Struct, frozen=True):
    """A picture in its address."""

    url: str


class ImagePart(msgspec.Struct, frozen=True):
    """A picture of a message."""

    image_url: ImageUrl
    type: Literal["image_url"] = "image_url"
    index: int = 0


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """The answer: in `content` the picture's link in Markdown, in `images` the picture."""

    role: Literal["assistant"] = "assistant"
    content: str
    images: list[ImagePart] | UnsetType = UNSET
    refusal: None = None


class Choice(msgspec.Struct, frozen=True):
    """One picture of several."""

    index: int
    message: Message
    finish_reason: Literal["stop"] = "stop"
    logprobs: None = None


class ChatCompletion(msgspec.Struct, frozen=True, kw_only=True):
    """The whole answer."""

    id: str
    created: int
    model: str
    choices: list[Choice]
    object: Literal["chat.completion"] = "chat.completion"
    usage: ChatUsage
    warnings: tuple[Remark, ...] = ()


class ChunkChoice(msgspec.Struct, frozen=True):
    """What is new of one picture."""

    index: int
    delta: Message | dict[str, Any]
    finish_reason: Literal["stop"] | None = None


class Chunk(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a streamed answer."""

    id: str
    created: int
    model: str
    choices: list[ChunkChoice]
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    usage: ChatUsage | UnsetType = UNSET


def routes(desk: Desk) -> list[Any]:
    """The dialect's route handlers."""

    @post(
        ["/v1/chat/completions", "/chat/completions", f"{DEPLOYMENT}/chat/completions"],
        status_code=200,
        operation_class=documented(ChatBody, ChatCompletion, streams=True),
        tags=["images"],
    )
    async def complete_chat(request: Request[Any, Any, Any]) -> Response[Any]:
        """Draw what the last message of a chat asks for."""
        caller = await desk.admit(request)
        given = of_deployment(request, await read_json(request))
        said = last_said(given.get("messages"), "messages")
        fields = {name: value for name, value in given.items() if name not in OF_CHAT}
        sources = sources_of(desk, request, caller.id)
        upload = await while_here(request, said.upload(fields, sources, "messages"))
        body = convert(folded_body(upload.fields), ImageGenerationBody)
        wanted = Wanted.of(body, "")
        asked = read_request(upload.fields)
        model = desk.resolve(asked.model, caller)
        remarks = wanted.remarks(upload.fields, body, edits=bool(upload.images))
        terms = desk.terms(request, caller, remarks)
        job = await job_of(desk, request, asked, model, upload, terms)
        told = Told(desk, request, asked.model or model.id)
        if body.stream:
            return await told.stream(caller, job, wanted.rendering, _wants_usage(given))
        return await told.whole(caller, job, wanted.rendering)

    return [complete_chat]


class Told:
    """How one chat is answered; `model` is the id it asked for."""

    def __init__(self, desk: Desk, request: Asked, model: str) -> None:
        self.desk, self.request = desk, request
        self.facts: dict[str, Any] = {
            "id": f"chatcmpl-{uuid.uuid4().hex}",
            "created": int(time.time()),
            "model": model,
        }

    async def whole(self, caller: Caller, job: Job, rendering: Rendering) -> Response[Any]:
        """Everything at once."""

        async def respond(pictures: list[Picture]) -> Content:
            choices = [Choice(one.sample, await self._message(one)) for one in pictures]
            warnings = warnings_of(pictures)
            usage = ChatUsage.of(Usage.of(job, pictures))
            answer = ChatCompletion(
                choices=choices, warnings=warnings, usage=usage, **self.facts
            )
            return Content.of(answer, [picture.data for picture in pictures])

        return await self.desk.answer(self.request, caller, job, rendering, respond, {})

    async def stream(
        self, caller: Caller, job: Job, rendering: Rendering, wants_usage: bool
    ) -> Stream:
        """Server-sent events: who answers, each picture, and that it was all."""

        def frames(items: AsyncGenerator[Any]) -> AsyncGenerator[Content]:
            return self._frames(items, job, wants_usage)

        return await streamed(self.desk, self.request, caller, job, rendering, frames)

    async def _frames(
        self, items: AsyncGenerator[Any], job: Job, wants_usage: bool
    ) -> AsyncGenerator[Content]:
        places, pictures = range(len(job.seeds)), list[Picture]()
        yield self._chunk([ChunkChoice(place, Message(content="")) for place in places])
        try:
            async for item in items:
                if isinstance(item, Picture):
                    choice = ChunkChoice(item.sample, await self._message(item))
                    yield self._chunk([choice], item.data)
                    pictures.append(item)
                elif isinstance(item, StepDone):
                    yield step_comment(item)
            yield self._chunk([ChunkChoice(place, {}, "stop") for place in places])
            if wants_usage:
                yield self._chunk([], usage=ChatUsage.of(Usage.of(job, pictures)))
            yield Content((DONE,))
        except GatewayError as error:
            yield Content((b"data: " + msgspec.json.encode(envelope(error)) + b"\n\n",))
        finally:
            await items.aclose()

    def _chunk(self, choices: list[ChunkChoice], *pictures: bytes, **more: Any) -> Content:
        return server_sent(Content.of(Chunk(choices=choices, **self.facts, **more), pictures))

    async def _message(self, picture: Picture) -> Message:
        url = await self.desk.try_keep(self.request, picture)
        shown = ImagePart(ImageUrl(f"data:image/{picture.format};base64,{GAP}"))
        return Message(content="" if url is UNSET else f"![image]({url})", images=[shown])


def _wants_usage(given: dict[str, Any]) -> bool:
    options = given.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True
