"""What is served, as OpenAI's model list; each entry says what its endpoint takes."""

import asyncio
from typing import Any

import msgspec
from litestar import Request, delete, get
from litestar.params import FromPath

from gateway.accounts.limits import Caller
from gateway.catalog.cards import AdapterCard, EndpointCard
from gateway.catalog.catalog import Catalog, Model
from gateway.catalog.survey.adapters import header_of
from gateway.catalog.survey.survey import State
from gateway.errors import Forbidden, OtherWeights
from gateway.outside.unread import IDLE
from gateway.web.door.answers.envelope import ErrorBody
from gateway.web.door.answers.schema import refusals
from gateway.web.door.desk import Desk
from gateway.web.door.standing import Stands, told


class ModelCard(msgspec.Struct, frozen=True, kw_only=True):
    """One id. Beyond OpenAI's four keys: what the endpoint's card says.

    `state` is `loaded`, `ready` (to be loaded when it is asked for), `not_downloaded` or
    `unusable`, and `reason` says why. `parent` is an adapter's endpoint, as vLLM says it.
    `digest` is of the weights in memory, null while they are not: `id@digest` asks for exactly
    those. `max_tokens` are the most that each of its tokenizers reads, marks of beginning and
    end among them; `ignores` are fields without effect, `quality` the steps of each that a
    request may ask for. `kinds` of an adapter are `LoRA`, `DoRA`, `LoKr` and such, and `scale`
    what it may be; `made_for` and `trigger_words` are what its file or card says; `controlnets`
    and `embeddings` are those of the endpoint, by name.
    """

    id: str
    object: str = "model"
    created: int = 0
    owned_by: str = "gateway"
    parent: str | None = None
    endpoint: str
    state: State
    reason: str | None = None
    adapter: str | None = None
    kinds: tuple[str, ...] = ()
    made_for: str | None = None
    trigger_words: tuple[str, ...] = ()
    scale: dict[str, float] | None = None
    controlnets: list[str] = []
    embeddings: list[str] = []
    alias_of: str | None = None
    description: str = ""
    licence: str = ""
    digest: str | None = None
    steps: dict[str, int]
    guidance_scale: dict[str, float | None]
    native_size: str
    sizes: dict[str, Any]
    schedulers: list[str]
    max_tokens: dict[str, int]
    ignores: list[str]
    quality: dict[str, int] = {}
    edits: bool = True


class ModelList(msgspec.Struct, frozen=True):
    """Every id there is."""

    data: list[ModelCard]
    object: str = "list"


def routes(desk: Desk) -> list[Any]:
    """The route handlers."""

    @get(["/v1/models", "/models"], responses=refusals(), tags=["models"])
    async def list_models(request: Request[Any, Any, Any]) -> ModelList:
        """Every endpoint, every `endpoint:adapter`, and the aliases."""
        caller = await desk.admit(request)
        catalog = desk.catalog
        return ModelList(await asyncio.to_thread(model_cards, catalog, caller, await told(desk)))

    @get(
        ["/v1/models/{model_id:path}", "/models/{model_id:path}"],
        responses=refusals(404),
        tags=["models"],
    )
    async def get_model(request: Request[Any, Any, Any], model_id: FromPath[str]) -> ModelCard:
        """One model."""
        caller = await desk.admit(request)
        wanted = model_id.lstrip("/")
        model = desk.resolve(wanted, caller)
        target = desk.catalog.meaning(wanted)
        stands = await told(desk)
        _check_weights(model, stands)
        card = await asyncio.to_thread(model_card, model, desk.catalog, stands)
        return msgspec.structs.replace(card, id=wanted, alias_of=target) if target else card

    @delete(
        ["/v1/models/{model_id:path}", "/models/{model_id:path}"],
        status_code=200,
        responses=refusals(403),
        tags=["models"],
    )
    async def delete_model(request: Request[Any, Any, Any], model_id: FromPath[str]) -> ErrorBody:
        """Refused: models come and go with the catalogue's folders."""
        await desk.admit(request)
        raise Forbidden(f"The model `{model_id.lstrip('/')}` belongs to this server's catalogue.")

    return [list_models, get_model, delete_model]


def model_cards(catalog: Catalog, caller: Caller, stands: Stands) -> list[ModelCard]:
    """Every model that a caller may use, and the aliases; may take a second after the start."""
    models = filter(caller.may_use, catalog.models())
    cards = [model_card(model, catalog, stands) for model in models]
    for alias, model in catalog.aliased():
        if caller.may_use(model):
            card = model_card(model, catalog, stands)
            target = catalog.aliases[alias]
            cards.append(msgspec.structs.replace(card, id=alias, alias_of=target))
    return cards


def _check_weights(model: Model, stands: Stands) -> None:
    """Find no model whose weights in memory are others than were asked for.

    Raises:
        OtherWeights: saying which they are.
    """
    for part in (Model(model.endpoint), model):
        found, wanted = stands(part).digest, model.pins.get(part.id)
        if found and wanted not in (None, found):
            raise OtherWeights(part.id, found, wanted)


def model_card(model: Model, catalog: Catalog, stands: Stands) -> ModelCard:
    """The wire form of a model."""
    standing = stands(model)
    endpoint: EndpointCard = model.endpoint
    shown = model.adapter or endpoint
    width, height = endpoint.sizes.native
    abilities = catalog.abilities(endpoint.id)
    header = header_of(model.adapter) if model.adapter else None
    told = model.adapter.trigger_words if model.adapter else ()
    return ModelCard(
        id=model.id,
        parent=endpoint.id if model.adapter else None,
        endpoint=endpoint.id,
        state=standing.state,
        reason=standing.reason,
        adapter=model.adapter.route if model.adapter else None,
        kinds=header.kinds if header else (),
        made_for=header.made_for if header else None,
        trigger_words=told or (header.trigger_words if header else ()),
        scale=_scale(model.adapter) if model.adapter else None,
        description=shown.description,
        licence=shown.licence,
        digest=standing.digest,
        steps=msgspec.structs.asdict(endpoint.steps),
        guidance_scale=msgspec.structs.asdict(endpoint.guidance),
        native_size=f"{width}x{height}",
        sizes=msgspec.to_builtins(endpoint.sizes),
        schedulers=catalog.schedulers(endpoint.id),
        max_tokens=abilities.tokens,
        ignores=[*abilities.ignores, *IDLE, *(() if endpoint.quality else ("quality",))],
        quality={name: tier.steps for name, tier in endpoint.quality.items()},
        edits=endpoint.edits,
        controlnets=catalog.controls_of(endpoint.id),
        embeddings=catalog.words(endpoint.id),
    )


def _scale(card: AdapterCard) -> dict[str, float]:
    low, high = card.scale_range
    return {"default": card.scale, "min": low, "max": high}
