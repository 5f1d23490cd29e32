"""An answer of OpenAI's Responses in the making: its pictures, their links, and its record."""

import uuid
from contextlib import suppress

import msgspec

from gateway.accounts.limits import Caller
from gateway.errors import NotStored
from gateway.studio import Picture
from gateway.web.door.addresses import public_base
from gateway.web.door.bodies import Asked
from gateway.web.door.content import GAP
from gateway.web.door.desk import Desk, warnings_of
from gateway.web.openai.responses.kept import Kept, KeptAnswers
from gateway.web.openai.responses.wire import (
    ImageCall,
    OutputMessage,
    OutputText,
    ResponseObject,
)


class Answer:
    """An answer that is being made: `begun` is what is known of it, `calls` are its pictures'."""

    def __init__(
        self,
        desk: Desk,
        request: Asked,
        kept: KeptAnswers,
        caller: Caller,
        begun: ResponseObject,
        calls: list[ImageCall],
    ) -> None:
        self.desk, self.request, self.kept, self.caller = desk, request, kept, caller
        self.begun, self.calls = begun, calls
        self.message_id = f"msg_{uuid.uuid4().hex}"

    async def of(self, pictures: list[Picture]) -> ResponseObject:
        """The whole answer, kept where it may be; a gap stands for each picture's base64."""
        names = await self._stored(pictures)
        words = self.words(names)
        calls = [call.done(GAP) for call in self.calls]
        whole = self.begun.ended(calls, words, warnings=warnings_of(pictures))
        if len(names) < len(pictures) or not self.begun.store:
            return whole
        bare = msgspec.structs.replace(
            whole, output=(*(call.done("") for call in self.calls), words)
        )
        owner = self.caller.id
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
