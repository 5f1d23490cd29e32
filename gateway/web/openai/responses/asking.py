"""What a body of OpenAI's Responses asks for, with the conversation that it goes on."""

import time
import uuid
from typing import Any

import msgspec

from gateway.accounts.limits import Caller
from gateway.catalog.catalog import Model
from gateway.errors import InvalidType, InvalidValue, ModelNotFound
from gateway.outside.spelling import is_absent
from gateway.outside.values import convert
from gateway.web.door.bodies.uploads import Sources, Upload, named_picture
from gateway.web.door.desk import Desk
from gateway.web.openai.conversation import OF_LANGUAGE, Said, last_said
from gateway.web.openai.responses.kept import KeptAnswers
from gateway.web.openai.responses.wire import (
    IMAGE_CALL,
    IMAGE_TOOL,
    ResponseBody,
    ResponseObject,
)

ACTIONS = ("generate", "edit", "auto")
OF_RESPONSES = frozenset(
    {*OF_LANGUAGE, "input", "tools", "previous_response_id", "background", "conversation"}
)
OF_THE_TOOL = frozenset({"type", "input_image_mask", "action"})


class Asking:
    """What is asked for: `given` is the body as it came."""

    def __init__(self, given: dict[str, Any]) -> None:
        """Read it.

        Raises:
            InvalidRequest: it is not of the form that this dialect has.
        """
        self.body = body = convert(_checked(given), ResponseBody)
        self.tool = next((one for one in body.tools if one.get("type") == IMAGE_TOOL), {})
        self.action = str(self.tool.get("action") or "auto").lower()
        if self.action not in ACTIONS:
            raise InvalidValue("tools[0].action", self.action, "generate, edit or auto")
        own = {name: value for name, value in given.items() if name not in OF_RESPONSES}
        tools = {name: value for name, value in self.tool.items() if name not in OF_THE_TOOL}
        self.fields = own | tools

    def model(self, desk: Desk, caller: Caller) -> Model:
        """The tool's model; the outer one is mostly a language model's, and then the default.

        Raises:
            ModelNotFound: the tool names one that is not served.
            Forbidden: the key may not use it.
        """
        if not is_absent(self.tool.get("model")):
            return desk.resolve(str(self.tool["model"]), caller)
        try:
            return desk.resolve(self.body.model, caller)
        except ModelNotFound:
            return desk.resolve(None, caller)

    def goes_on(self, model: Model) -> bool:
        """Whether the last picture of the conversation is changed, where none is shown now."""
        return self.action == "edit" or (self.action == "auto" and model.endpoint.edits)

    async def before(self, desk: Desk, kept: KeptAnswers, caller: Caller) -> list[Any]:
        """The last picture of the conversation so far, in the input or kept here."""
        calls = self._calls()
        if shown := [one["result"] for one in calls if isinstance(one.get("result"), str)]:
            return [{"image": shown[-1]}]
        ids = [one["id"] for one in calls if isinstance(one.get("id"), str)]
        id = ids[-1] if ids else self.body.previous_response_id
        if id is None:
            return []
        found = await kept.get(id, caller.id, "input" if ids else "previous_response_id")
        return [{"image_url": desk.store.url_path(name)} for name in found.pictures[-1:]]

    async def upload(self, sources: Sources, before: list[Any]) -> Upload:
        """The fields and pictures of the request; what is shown now goes before what was."""
        said = last_said(self.body.input, "input")
        if self.action == "generate":
            said = Said(said.prompt)
        elif not said.pictures:
            said = Said(said.prompt, tuple(before))
        upload = await said.upload(self.fields, sources, "input")
        if self.action == "edit" and not upload.images:
            raise InvalidValue("tools[0].action", "edit", "an image in the input to edit")
        mask = self.tool.get("input_image_mask")
        if is_absent(mask) or not upload.images:
            return upload
        found = await named_picture(mask, "tools[0].input_image_mask", sources)
        return msgspec.structs.replace(upload, mask=found)

    def begun(self, model_id: str, safety_identifier: str | None) -> ResponseObject:
        """The answer before there is anything in it."""
        body = self.body
        return ResponseObject(
            id=f"resp_{uuid.uuid4().hex}",
            created_at=int(time.time()),
            model=body.model or model_id,
            tools=body.tools,
            metadata=body.metadata or {},
            previous_response_id=body.previous_response_id,
            store=body.store,
            safety_identifier=safety_identifier or msgspec.UNSET,
        )

    def _calls(self) -> list[dict[str, Any]]:
        """The pictures in the input that were drawn before, whole or by their id."""
        items = self.body.input if isinstance(self.body.input, list) else []
        return [
            one
            for one in items
            if one.get("type") == IMAGE_CALL or str(one.get("id", "")).startswith("ig_")
        ]


def _checked(given: dict[str, Any]) -> dict[str, Any]:
    """The body, each item of whose input is an object.

    Raises:
        InvalidType: an item of the input is none.
    """
    for item in given["input"] if isinstance(given.get("input"), list) else []:
        if not isinstance(item, dict):
            raise InvalidType("input", "a list of items", type(item).__name__)
    return given
