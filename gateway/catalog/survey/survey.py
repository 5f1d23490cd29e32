"""How every model stands before it is loaded: ready, to be fetched, or of no use, and why."""

from collections.abc import Iterator
from typing import Literal

from gateway.catalog.cards import CardError
from gateway.catalog.catalog import Catalog, Model
from gateway.catalog.heads.training import is_stranger
from gateway.catalog.sources.hub import check_hub
from gateway.catalog.sources.weights import pipeline_class
from gateway.catalog.survey.adapters import header_of, inspect_adapter
from gateway.catalog.survey.inspection import NotHereError, inspect_endpoint

State = Literal["loaded", "ready", "not_downloaded", "unusable"]
"""`ready` is loaded when it is first asked for, `not_downloaded` fetched before."""


def faults_of(catalog: Catalog) -> dict[str, CardError]:
    """Why models cannot be loaded, or not without fetching them, by id."""
    found: dict[str, CardError] = {}
    for model in (*catalog.models(), *catalog.models_beside()):
        fault, owner = fault_of(model, catalog), found.get(model.endpoint.id)
        if owner is not None and (fault is None or not isinstance(owner, NotHereError)):
            reason = f"its endpoint '{model.endpoint.id}': {owner.reason}"
            fault = type(owner)(reason, owner.path)
        if fault is not None:
            found[model.id] = fault
    return found


def fault_of(model: Model, catalog: Catalog) -> CardError | None:
    """Why what an id names cannot be loaded; an adapter's endpoint has faults of its own."""
    shown = model.adapter or model.endpoint
    try:
        if model.id in catalog.broken:
            return catalog.broken[model.id]
        if model.adapter:
            inspect_adapter(model.adapter, model.endpoint)
        else:
            inspect_endpoint(model.endpoint)
    except CardError as fault:
        return fault
    except OSError as error:
        return CardError(f"cannot be read: {error.strerror}", shown.path)
    return None


def oddities_of(catalog: Catalog) -> dict[str, str]:
    """What is odd about adapters that can be loaded, by id.

    They are said to be for another family than their endpoint's.
    """
    found: dict[str, str] = {}
    for model in catalog.models():
        header = header_of(model.adapter) if model.adapter else None
        if header is None:
            continue
        told = header.made_for
        if told and is_stranger(told, own := pipeline_class(model.endpoint)):
            found[model.id] = f"it was made for {told}, and its endpoint is a {own}"
    return found


def state_of(fault: CardError | None) -> State:
    """How a model stands, by what there is against it."""
    if fault is None:
        return "ready"
    return "not_downloaded" if isinstance(fault, NotHereError) else "unusable"


def check_model(model: Model, catalog: Catalog) -> None:
    """Make sure that a model's weights are here, or can be fetched.

    Raises:
        CardError: they are not, and why.
    """
    for one in _parts(model):
        fault = fault_of(one, catalog)
        if isinstance(fault, NotHereError) and one.adapter is None:
            check_hub(one.endpoint)
        elif fault is not None and not isinstance(fault, NotHereError):
            raise fault


def _parts(model: Model) -> Iterator[Model]:
    yield Model(model.endpoint)
    if model.adapter:
        yield model
