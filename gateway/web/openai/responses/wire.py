"""The wire of OpenAI's Responses: what an answer is made of."""

import uuid
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from gateway.job import Job
from gateway.remarks import Remark
from gateway.web.openai.usage import ResponseUsage
from gateway.web.openai.wire import Wanted, background_of

IMAGE_TOOL = "image_generation"
IMAGE_CALL = "image_generation_call"


class ResponseBody(msgspec.Struct, frozen=True):
    """`POST /v1/responses`: every input is drawn, whatever tools there are.

    The picture's fields are those of the `image_generation` tool, or the body's own.
    """

    input: str | list[dict[str, Any]]
    model: Annotated[str | None, Meta(description="any; one of ours is drawn with")] = None
    tools: list[dict[str, Any]] = []
    previous_response_id: str | None = None
    stream: bool = False
    store: bool = True
    metadata: dict[str, Any] | None = None


class ImageCall(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag=IMAGE_CALL):
    """A picture; `result` is its base64, null until it is there."""

    id: str
    status: Literal["in_progress", "completed"] = "completed"
    result: str | None = None
    output_format: str
    size: str
    quality: str
    background: str
    revised_prompt: str
    seed: int

    @classmethod
    def begun(cls, job: Job, sample: int, wanted: Wanted, quality: str) -> "ImageCall":
        """The call of a sample before its picture is there."""
        width, height = job.output_size or (job.width, job.height)
        return cls(
            id=f"ig_{uuid.uuid4().hex}",
            status="in_progress",
            output_format=wanted.rendering.format,
            size=f"{width}x{height}",
            background=background_of(job),
            quality=quality,
            revised_prompt=job.prompt,
            seed=job.seeds[sample],
        )

    def done(self, result: str) -> "ImageCall":
        """The same with its picture."""
        return msgspec.structs.replace(self, status="completed", result=result)


class OutputText(msgspec.Struct, frozen=True):
    """Words of an answer."""

    text: str
    type: Literal["output_text"] = "output_text"
    annotations: tuple[Any, ...] = ()
    logprobs: tuple[Any, ...] = ()


class OutputMessage(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="message"):
    """What is said with the pictures: their links, in Markdown."""

    id: str
    content: tuple[OutputText, ...]
    status: Literal["in_progress", "completed"] = "completed"
    role: Literal["assistant"] = "assistant"


class Reasoning(msgspec.Struct, frozen=True):
    """How a model of language would have thought."""

    effort: None = None
    summary: None = None


class TextFormat(msgspec.Struct, frozen=True):
    """What its words would have been."""

    type: Literal["text"] = "text"


class TextOptions(msgspec.Struct, frozen=True):
    """How it would have written."""

    format: TextFormat = TextFormat()


class ResponseObject(msgspec.Struct, frozen=True, kw_only=True):
    """The answer; what a model of language would have been told is as OpenAI's own defaults."""

    id: str
    created_at: int
    model: str
    object: Literal["response"] = "response"
    status: Literal["in_progress", "completed", "failed"] = "in_progress"
    output: tuple[ImageCall | OutputMessage, ...] = ()
    tools: list[dict[str, Any]] = []
    metadata: dict[str, Any] = {}
    previous_response_id: str | None = None
    store: bool = True
    safety_identifier: str | UnsetType = UNSET
    usage: ResponseUsage | None = None
    error: dict[str, Any] | None = None
    incomplete_details: None = None
    instructions: Any = None
    max_output_tokens: int | None = None
    parallel_tool_calls: bool = True
    reasoning: Reasoning = Reasoning()
    temperature: float = 1.0
    text: TextOptions = TextOptions()
    tool_choice: Any = "auto"
    top_p: float = 1.0
    truncation: str = "disabled"
    background: bool = False
    warnings: tuple[Remark, ...] = ()

    def ended(
        self, calls: list[ImageCall], words: OutputMessage, **more: Any
    ) -> "ResponseObject":
        """The same with all of its output."""
        return msgspec.structs.replace(
            self, status="completed", output=(*calls, words), **more
        )


class ResponseDeleted(msgspec.Struct, frozen=True):
    """What remains of a deleted answer."""

    id: str
    object: Literal["response"] = "response"
    deleted: bool = True
