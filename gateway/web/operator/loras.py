"""LoRAs loaded and unloaded by request: vLLM's own two calls, for operators."""

import asyncio
from typing import Any, TypeVar

import msgspec
from litestar import MediaType, Request, Response, post

from gateway.accounts.limits import Caller
from gateway.catalog.board import Board
from gateway.catalog.bundle import folders
from gateway.catalog.cards import AdapterCard, CardError
from gateway.catalog.drafts.loras import card_of, place_of
from gateway.errors import AlreadyLoaded, Forbidden, GatewayError, InvalidRequest, NotFound
from gateway.outside.values import convert
from gateway.web.door.answers.schema import documented_body, refusals
from gateway.web.door.bodies.bodies import read_json
from gateway.web.door.desk import Desk

T = TypeVar("T")
OPERATION: dict[str, Any] = {
    "status_code": 200,
    "media_type": MediaType.TEXT,
    "responses": refusals(403, 404, 422),
    "tags": ["models"],
}


class Load(msgspec.Struct, frozen=True):
    """What is to be served, and where it lies: a path in a folder of adapters, a hub id, or
    `civitai:VERSION`."""

    lora_name: str
    lora_path: str
    load_inplace: bool = False


class Unload(msgspec.Struct, frozen=True):
    """What is to be served no more."""

    lora_name: str


def routes(desk: Desk, board: Board) -> list[Any]:
    """The route handlers; the `board` is where other fronts hear of it."""
    collection, engine = desk.studio.collection, desk.studio.engine

    @post("/v1/load_lora_adapter", operation_class=documented_body(Load), **OPERATION)
    async def load(request: Request[Any, Any, Any]) -> Response[str]:
        """Serve a LoRA as `endpoint:route`; one on the default endpoint by a bare name as well."""
        _check_operator(await desk.admit(request))
        asked = await _asked(request, Load)
        catalog = collection.now()
        place = place_of(asked.lora_name, catalog)
        if place in catalog.adapters and not asked.load_inplace:
            raise AlreadyLoaded(
                f"The LoRA adapter '{asked.lora_name}' has already been loaded; "
                "'load_inplace' loads it anew.",
                param="lora_name",
            )
        card = await asyncio.to_thread(
            card_of, asked.lora_name, asked.lora_path, catalog, folders(desk.settings)
        )
        with collection.trial(card, asked.lora_name if ":" not in asked.lora_name else None):
            await _load(card)
            await board.loaded(card.id, asked.lora_name, asked.lora_path)
        return _success(asked.lora_name, "added")

    @post("/v1/unload_lora_adapter", operation_class=documented_body(Unload), **OPERATION)
    async def unload(request: Request[Any, Any, Any]) -> Response[str]:
        """Serve a LoRA no more, wherever it came from, until it is loaded or the next start."""
        _check_operator(await desk.admit(request))
        asked = await _asked(request, Unload)
        catalog = collection.now()
        card = catalog.adapters.get(place_of(asked.lora_name, catalog))
        if card is None:
            raise NotFound(
                f"The LoRA adapter '{asked.lora_name}' cannot be found.", param="lora_name"
            )
        await board.unloaded(card.id, asked.lora_name)
        collection.withdraw(card)
        engine.notice()
        return _success(asked.lora_name, "removed")

    async def _load(card: AdapterCard) -> None:
        try:
            await engine.load_adapter(card.endpoint, card.route)
        except CardError as fault:
            raise InvalidRequest(f"{fault}", param="lora_path") from None
        except GatewayError:
            raise
        except Exception as error:
            raise InvalidRequest(
                f"It cannot be loaded: {error or type(error).__name__}", param="lora_path"
            ) from error

    return [load, unload]


def _check_operator(caller: Caller) -> None:
    if not caller.is_operator:
        raise Forbidden(
            "LoRAs are loaded and unloaded with an operator's key "
            "(gateway keys create NAME --operator)."
        )


async def _asked(request: Request[Any, Any, Any], kind: type[T]) -> T:
    body = await read_json(request)
    return convert({name: value for name, value in body.items() if value not in (None, "")}, kind)


def _success(name: str, done: str) -> Response[str]:
    text = f"Success: LoRA adapter '{name}' {done} successfully."
    return Response(text, media_type="text/plain")
