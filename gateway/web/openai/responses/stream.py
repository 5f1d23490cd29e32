"""A streamed answer of OpenAI's Responses: its events, in the order that its clients know."""

from collections.abc import AsyncGenerator
from typing import Any

import msgspec
from litestar.response import Stream

from gateway.accounts.limits import Caller
from gateway.errors import GatewayError
from gateway.job import Job, StepDone
from gateway.studio import Picture, PreviewPicture, Rendering
from gateway.web.door.answers.content import GAP, Content
from gateway.web.door.bodies.bodies import Asked
from gateway.web.door.desk import Desk
from gateway.web.openai.responses.answer import Answer
from gateway.web.openai.responses.wire import (
    IMAGE_CALL,
    OutputMessage,
    OutputText,
    ResponseObject,
)
from gateway.web.openai.stream import server_sent, step_comment, streamed
from gateway.web.openai.wire import Wanted


class Streamed:
    """One streamed answer; every event has a number."""

    def __init__(self, desk: Desk, request: Asked, answer: Answer) -> None:
        self.desk, self.request, self.answer = desk, request, answer
        self._number = -1

    async def response(self, caller: Caller, job: Job, wanted: Wanted) -> Stream:
        """The events; a refusal keeps its status."""
        format = wanted.rendering.format
        still = Rendering(format, wanted.rendering.quality, previews=format)
        return await streamed(self.desk, self.request, caller, job, still, self._frames)

    async def _frames(self, items: AsyncGenerator[Any]) -> AsyncGenerator[Content]:
        answer, pictures = self.answer, list[Picture]()
        try:
            for name in ("created", "in_progress"):
                yield self._event(f"response.{name}", response=answer.begun)
            for place, call in enumerate(answer.calls):
                yield self._event("response.output_item.added", output_index=place, item=call)
                for name in ("in_progress", "generating"):
                    yield self._of_call(name, place)
            async for item in items:
                if isinstance(item, PreviewPicture):
                    yield self._partial(item)
                elif isinstance(item, Picture):
                    pictures.append(item)
                    yield self._of_call("completed", item.sample)
                    done = answer.calls[item.sample].done(GAP)
                    yield self._item_done(item.sample, done, item.data)
                elif isinstance(item, StepDone):
                    yield step_comment(item)
            pictures.sort(key=lambda picture: picture.sample)
            whole = await answer.of(pictures)
            for event in self._message(whole):
                yield event
            shown = [picture.data for picture in pictures]
            yield self._event("response.completed", *shown, response=whole)
        except GatewayError as error:
            fault = {"code": error.code or error.type, "message": error.message}
            failed = msgspec.structs.replace(answer.begun, status="failed", error=fault)
            yield self._event("response.failed", response=failed)
        finally:
            await items.aclose()

    def _event(self, name: str, *pictures: bytes, **facts: Any) -> Content:
        self._number += 1
        event = {"type": name, "sequence_number": self._number, **facts}
        return server_sent(Content.of(event, pictures), name)

    def _of_call(self, name: str, place: int, *pictures: bytes, **facts: Any) -> Content:
        id = self.answer.calls[place].id
        return self._event(
            f"response.{IMAGE_CALL}.{name}", *pictures, output_index=place, item_id=id, **facts
        )

    def _partial(self, item: PreviewPicture) -> Content:
        call = self.answer.calls[item.sample]
        return self._of_call(
            "partial_image",
            item.sample,
            item.data,
            partial_image_index=item.index,
            partial_image_b64=GAP,
            output_format=call.output_format,
            size=call.size,
            quality=call.quality,
            background=call.background,
        )

    def _item_done(self, place: int, item: Any, *pictures: bytes) -> Content:
        return self._event("response.output_item.done", *pictures, output_index=place, item=item)

    def _message(self, whole: ResponseObject) -> list[Content]:
        """What is said at the end, as if it had been written word by word."""
        place, words = len(self.answer.calls), whole.output[-1]
        assert isinstance(words, OutputMessage)
        (said,) = words.content
        begun = msgspec.structs.replace(words, content=(), status="in_progress")
        where = {"item_id": words.id, "output_index": place, "content_index": 0}
        text, logprobs = said.text, ()
        return [
            self._event("response.output_item.added", output_index=place, item=begun),
            self._event("response.content_part.added", part=OutputText(""), **where),
            self._event("response.output_text.delta", delta=text, logprobs=logprobs, **where),
            self._event("response.output_text.done", text=text, logprobs=logprobs, **where),
            self._event("response.content_part.done", part=said, **where),
            self._item_done(place, words),
        ]
