"""What AUTOMATIC1111's clients choose from: checkpoints, samplers, schedules, adapters, words."""

import asyncio
from typing import Any

from litestar import Request, get, post

from gateway.catalog.survey.adapters import header_of
from gateway.web.automatic1111.choices import Choices
from gateway.web.automatic1111.drawing import ROUTE
from gateway.web.automatic1111.names import SCHEDULE_NAMES, sampler_names
from gateway.web.door.answers.schema import refusals
from gateway.web.door.desk import Desk
from gateway.web.door.standing import told

AnyRequest = Request[Any, Any, Any]
TAGS = ["automatic1111"]
NOTHING: dict[str, Any] = {
    "sd-vae": [],
    "prompt-styles": [],
    "hypernetworks": [],
    "face-restorers": [],
    "realesrgan-models": [],
    "latent-upscale-modes": [],
    "script-info": [],
    "scripts": {"txt2img": [], "img2img": []},
}
"""What there is none of here."""


def routes(desk: Desk, choices: Choices) -> list[Any]:
    """The route handlers."""

    @get(f"{ROUTE}/sd-models", responses=refusals(), tags=TAGS)
    async def list_models(request: AnyRequest) -> list[dict[str, Any]]:
        """Every endpoint, and every `endpoint:adapter`, as a checkpoint."""
        caller = desk.door.identify(request)
        stands = await told(desk)
        return [
            {
                "title": model.id,
                "model_name": model.id,
                "hash": None,
                "sha256": stands(model).digest,
                "filename": model.id,
                "config": None,
            }
            for model in filter(caller.may_use, desk.catalog.models())
        ]

    @get(f"{ROUTE}/samplers", responses=refusals(), tags=TAGS)
    async def list_samplers(request: AnyRequest) -> list[dict[str, Any]]:
        """The samplers that your checkpoint takes."""
        model = await choices.model(desk.door.identify(request))
        found = await asyncio.to_thread(sampler_names, desk.catalog, model.endpoint.id)
        return [
            {"name": label, "aliases": [f"k_{name}", name], "options": {}}
            for label, name in found.items()
        ]

    @get(f"{ROUTE}/schedulers", responses=refusals(), tags=TAGS)
    async def list_schedulers(request: AnyRequest) -> list[dict[str, Any]]:
        """The schedules there are."""
        desk.door.identify(request)
        names = {"Automatic": "automatic"} | SCHEDULE_NAMES
        return [
            {
                "name": name,
                "label": label,
                "aliases": [label],
                "default_rho": -1.0,
                "need_inner_model": False,
            }
            for label, name in names.items()
        ]

    @get(f"{ROUTE}/upscalers", responses=refusals(), tags=TAGS)
    async def list_upscalers(request: AnyRequest) -> list[dict[str, Any]]:
        """How pictures are enlarged after they are drawn."""
        desk.door.identify(request)
        nowhere = {"model_name": None, "model_path": None, "model_url": None, "scale": 4.0}
        return [{"name": name, **nowhere} for name in ("None", "Lanczos")]

    @get(f"{ROUTE}/loras", responses=refusals(), tags=TAGS)
    async def list_loras(request: AnyRequest) -> list[dict[str, Any]]:
        """The adapters of your checkpoint, for `<lora:name:scale>`."""
        caller = desk.door.identify(request)
        catalog, model = desk.catalog, await choices.model(caller)
        cards = [
            catalog.adapters[model.endpoint.id, route]
            for route in catalog.routes(model.endpoint.id)
        ]
        headers = await asyncio.to_thread(lambda: [header_of(card) for card in cards])
        return [
            {
                "name": card.route,
                "alias": card.route,
                "path": card.id,
                "metadata": {
                    "trigger_words": [
                        *(card.trigger_words or (header.trigger_words if header else ()))
                    ]
                },
            }
            for card, header in zip(cards, headers, strict=True)
        ]

    @get(f"{ROUTE}/embeddings", responses=refusals(), tags=TAGS)
    async def list_embeddings(request: AnyRequest) -> dict[str, Any]:
        """The textual inversions of your checkpoint."""
        model = await choices.model(desk.door.identify(request))
        facts = {"step": None, "sd_checkpoint": None, "sd_checkpoint_name": None}
        words = desk.catalog.words(model.endpoint.id)
        loaded = {word: facts | {"shape": 0, "vectors": 1} for word in words}
        return {"loaded": loaded, "skipped": {}}

    @get([f"{ROUTE}/{name}" for name in NOTHING], responses=refusals(), tags=TAGS)
    async def list_nothing(request: AnyRequest) -> Any:
        """What there is none of here."""
        desk.door.identify(request)
        return NOTHING[request.scope["path"].rstrip("/").rpartition("/")[2]]

    @post(
        [f"{ROUTE}/refresh-{name}" for name in ("checkpoints", "loras", "vae", "embeddings")],
        status_code=200,
        responses=refusals(),
        tags=TAGS,
    )
    async def refresh(request: AnyRequest) -> None:
        """Nothing to do: folders are looked at all the time."""
        await desk.admit(request)

    return [
        list_models,
        list_samplers,
        list_schedulers,
        list_upscalers,
        list_loras,
        list_embeddings,
        list_nothing,
        refresh,
    ]
