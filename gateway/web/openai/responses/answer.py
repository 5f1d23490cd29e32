"""An answer of OpenAI's Responses in the making: its pictures, their links, and its record."""

import uuid
from contextlib import suppress

import msgspec

from gateway.errors import NotStored
from gateway.job import Job
from gateway.studio import Picture
from gateway.web.door.addresses import public_base
from gateway.web.door.answers.content import GAP
from gateway.web.door.bodies.bodies import Asked
from gateway.web.door.desk import Desk, warnings_of
from gateway.web.openai.responses.kept import Kept, KeptAnswers
from gateway.web.openai.responses.wire import (
    ImageCall,
    OutputMessage,
    OutputText,
    ResponseObject,
)
from gateway.web.openai.usage import ResponseUsage, Usage


class Answer:
    """A job's answer in the making: `begun` is what is known of it, `calls` are its pictures'."""

    def __init__(
        self,
        desk: Desk,
        request: Asked,
        kept: KeptAnswers,
        begun: ResponseObject,
        job: Job,
        calls: list[ImageCall],
    ) -> None:
        self.desk, self.request, self.kept = desk, request, kept
        self.begun, self.job, self.calls = begun, job, calls
        self.message_id = f"msg_{uuid.uuid4().hex}"

    async def of(self, pictures: list[Picture]) -> ResponseObject:
        """The whole answer, kept where it may be; a gap stands for each picture's base64."""
        names = await self._stored(pictures)
        words = self.words(names)
        calls = [call.done(GAP) for call in self.calls]
        usage = ResponseUsage.of(Usage.of(self.job, pictures))
        warnings = warnings_of(pictures)
        whole = self.begun.ended(calls, words, usage=usage, warnings=warnings)
        if len(names) < len(pictures) or not self.begun.store:
            return whole
        bare = msgspec.structs.replace(
            whole, output=(*(call.done("") for call in self.calls), words)
        )
        owner = self.job.owner
        with suppress(NotStored):
            for call, name in zip(self.calls, names, strict=True):
                await self.kept.put(call.id, Kept(owner, (name,)))
            answer = msgspec.to_builtins(bare)
            await self.kept.put(whole.id, Kept(owner, tuple(names), answer))
        return whole

    def words(self, names: list[str]) -> OutputMessage:
        """The links of pictures."""
        base = public_base(self.request, self.desk.settings)
        links = [f"![image]({base}{self.desk.store.url_path(name)})" for name in names]
        return OutputMessage(id=self.message_id, content=(OutputText("\n".join(links)),))

    async def _stored(self, pictures: list[Picture]) -> list[str]:
        with suppress(NotStored):
            return [
                await self.desk.store.put(one.data, one.format)
                for one in pictures
                if one.format != "raw"
            ]
        return []
