"""Pools of devices and extra catalogue folders that a run may ask for by name."""

from collections.abc import Sequence
from pathlib import Path

from gateway.catalog.cards import EndpointCard
from gateway.errors import InvalidRequest
from gateway.runs.records import Order
from gateway.settings import Settings


def pools(settings: Settings) -> dict[str, list[str]]:
    """The endpoints of each pool; several are written `a100=sdxl-turbo+emoji`."""
    return {name: endpoints.split("+") for name, endpoints in settings.pools.items()}


def check_pool(order: Order, cards: Sequence[EndpointCard], settings: Settings) -> None:
    """Hold a run to the pool it names.

    Without pools configured any name is taken and written down: SDKs send GPUs of a cloud
    that is not here.

    Raises:
        InvalidRequest: no such pool, or it does not draw this endpoint; the pools are listed.
    """
    known = {name.lower(): endpoints for name, endpoints in pools(settings).items()}
    if not known:
        return
    for param, name in (("gpu", order.gpu), ("machine_id", order.machine_id)):
        if name is None or name.lower() == "local":
            continue
        wanting = [card.id for card in cards if card.id not in known.get(name.lower(), ())]
        if wanting:
            listed = "; ".join(f"{pool}: {', '.join(ids)}" for pool, ids in pools(settings).items())
            raise InvalidRequest(
                f"No pool '{name}' draws {', '.join(wanting)}. Pools here: {listed}.", param=param
            )


def check_volume(order: Order, cards: Sequence[EndpointCard], settings: Settings) -> None:
    """Hold a run to the catalogue folder it names.

    Raises:
        InvalidRequest: no such folder is configured, or an endpoint is not from it.
    """
    name = order.private_volume_name
    if name is None:
        return
    folders = [folder for folder in (settings.models, settings.adapters) if folder]
    named = [folder for folder in folders if folder.name == name]
    if not named:
        listed = ", ".join(folder.name for folder in folders) or "none"
        raise InvalidRequest(
            f"No catalogue folder '{name}' is configured here. Folders: {listed}.",
            param="private_volume_name",
        )
    if settings.models in named:
        for card in cards:
            if not _is_inside(card.path, named):
                raise InvalidRequest(
                    f"The endpoint '{card.id}' is not from the folder '{name}'.",
                    param="private_volume_name",
                )


def _is_inside(path: Path | None, folders: Sequence[Path]) -> bool:
    return path is not None and any(
        path.resolve().is_relative_to(folder.resolve()) for folder in folders
    )
