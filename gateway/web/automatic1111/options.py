"""The options of AUTOMATIC1111: of all of them a checkpoint counts, and that for one key."""

from typing import Any

import msgspec
from litestar import Request, get, post

from gateway.outside.spelling import is_absent
from gateway.web.automatic1111.asking import CHECKPOINT
from gateway.web.automatic1111.choices import Choices
from gateway.web.automatic1111.drawing import ROUTE
from gateway.web.door.answers.schema import documented_body, refusals
from gateway.web.door.bodies.bodies import read_json
from gateway.web.door.desk import Desk

AnyRequest = Request[Any, Any, Any]
TAGS = ["automatic1111"]


class OptionsBody(msgspec.Struct, frozen=True, rename={"checkpoint": CHECKPOINT}):
    """`POST /sdapi/v1/options`; of all options the checkpoint counts, for your key alone."""

    checkpoint: str | None = None


def routes(desk: Desk, choices: Choices) -> list[Any]:
    """The route handlers."""

    @get("/internal/ping", tags=TAGS)
    async def ping() -> dict[str, Any]:
        """Whether there is a server."""
        return {}

    @get(f"{ROUTE}/options", responses=refusals(), tags=TAGS)
    async def get_options(request: AnyRequest) -> dict[str, Any]:
        """Your checkpoint, and what else clients look for among options."""
        model = await choices.model(desk.door.identify(request))
        return {
            CHECKPOINT: model.id,
            "sd_checkpoint_hash": "",
            "sd_vae": "Automatic",
            "samples_format": "png",
            "CLIP_stop_at_last_layers": 1,
            "enable_pnginfo": desk.settings.receipts,
        }

    @post(
        f"{ROUTE}/options",
        status_code=200,
        responses=refusals(404),
        operation_class=documented_body(OptionsBody),
        tags=TAGS,
    )
    async def set_options(request: AnyRequest) -> dict[str, Any]:
        """Choose the checkpoint of your key's requests that name none."""
        caller = await desk.admit(request)
        name = (await read_json(request)).get(CHECKPOINT)
        if not is_absent(name):
            await choices.choose(caller, str(name))
        return {}

    @get(f"{ROUTE}/cmd-flags", responses=refusals(), tags=TAGS)
    async def get_flags(request: AnyRequest) -> dict[str, Any]:
        """As if it had been started with these."""
        desk.door.identify(request)
        return {"api": True, "listen": None, "port": desk.settings.port}

    @get(f"{ROUTE}/memory", responses=refusals(), tags=TAGS)
    async def get_memory(request: AnyRequest) -> dict[str, Any]:
        """The bytes of weights in memory."""
        desk.door.identify(request)
        loaded = desk.studio.engine.status().loaded
        used = sum(one.size_bytes for one in loaded)
        return {"ram": {"used": used}, "cuda": {"error": "unavailable"}}

    return [ping, get_options, set_options, get_flags, get_memory]
