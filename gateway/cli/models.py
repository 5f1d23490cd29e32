"""`gateway models`: the catalogue as a table; `gateway models add`: one card more."""

import re
from collections.abc import Iterator, Mapping
from os.path import relpath
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Column, Table

from gateway.catalog.bundle import full_catalog
from gateway.catalog.cards import CARD, CardError, EndpointCard
from gateway.catalog.catalog import Catalog
from gateway.catalog.drafts.drafts import Draft
from gateway.catalog.drafts.inferred import Told, infer
from gateway.catalog.drafts.split import draft_of_file, main_file
from gateway.catalog.sources.civitai import civitai_file, is_civitai
from gateway.catalog.sources.hub import configs_of, is_hub_id, page_of
from gateway.catalog.sources.parts import bytes_on_disk
from gateway.catalog.sources.weights import INDEX, index_in, pipeline_class
from gateway.catalog.survey.memory import parts_of
from gateway.catalog.survey.strays import CARDS
from gateway.catalog.survey.survey import faults_of, state_of
from gateway.cli.options import setting_options
from gateway.settings import AUTO, Settings, SettingsError, read_settings
from gateway.telemetry.sizes import shown_bytes

_STRANGE = re.compile(r"[^A-Za-z0-9._-]+")
"""What ids have none of."""

COLUMNS = ("pipeline", "adapters", "steps", "size", "licence", "on disk", "GPU / CPU memory")


@click.group(invoke_without_command=True)
@setting_options("models", "adapters", "device", "memory")
@click.pass_context
def models(context: click.Context, /, **flags: Any) -> None:
    """List every endpoint there is a card for, and what is wrong with cards and files."""
    if context.invoked_subcommand is not None:
        return
    settings = read_settings(flags)
    catalog = full_catalog(settings)
    faults = faults_of(catalog)
    Console().print(catalog_table(catalog, faults))
    for line in _plans(catalog, faults, settings):
        click.echo(line)
    for id, fault in faults.items():
        if state_of(fault) == "unusable":
            click.echo(f"gateway: {id}: {fault}", err=True)
    for stray in catalog.passed_over:
        click.echo(f"gateway: {stray}", err=True)


@models.command()
@click.argument("source", metavar="PATH|HUB_ID|civitai:VERSION")
@click.option("--as", "id", metavar="ID", help="id of the endpoint  [default: its own name]")
@click.option("--config", metavar="PATH|HUB_ID", help="whose configs a single file goes with")
@setting_options("models")
@click.pass_context
def add(
    context: click.Context, /, source: str, id: str | None, config: str | None, **flags: Any
) -> None:
    """Write a card, to be edited: what files say, and what was guessed.

    Of a folder in diffusers' format, a single file, a folder with ComfyUI's in it, a repository
    of the hub, or a version on Civitai that was pulled.
    """
    assert context.parent
    settings = read_settings(context.parent.params | {name: v for name, v in flags.items() if v})
    place = Path(source).expanduser()
    draft = _draft(settings, source, place, config)
    id = id or _name_of(source, place)
    is_own = index_in(place) is not None and _is_of_models(settings, place)
    card = place.resolve() / CARD if is_own else _beside(settings, id)
    _write(card, (draft._replace(source=".") if is_own else draft).text(id))
    _tell(card, draft, id)


def _draft(settings: Settings, source: str, place: Path, config: str | None) -> Draft:
    """The card of what a source is."""
    if (file := _file_of(source, place)) is not None:
        draft = draft_of_file(file.absolute(), config)
        named = {name: _named(settings, told) for name, told in draft.components.items()}
        own = source if is_civitai(source) else _named(settings, Told(draft.source, "")).value
        told = _named(settings, draft.config) if draft.config else None
        return draft._replace(source=own, config=told, components=named)
    if is_civitai(source):
        raise CardError(f"'{source}' is not on this disk; wanted before: gateway pull {source}")
    if not place.exists() and is_hub_id(source):
        inferred = infer(configs_of(source), _name_of(source, place), source)
        return Draft(source, inferred, homepage=page_of(source))
    if index_in(place) is None:
        what = f"a folder with no {INDEX}" if place.is_dir() else "no file, no folder"
        raise CardError(f"'{source}' is {what}, and no hub id")
    own = _named(settings, Told(str(place.resolve()), "")).value
    return Draft(own, infer(place, place.resolve().name))


def catalog_table(catalog: Catalog, faults: Mapping[str, CardError]) -> Table:
    """One row per endpoint."""
    inner = (Column(name, overflow="fold") for name in COLUMNS)
    table = Table(Column("id", no_wrap=True), *inner, Column("state", no_wrap=True))
    for card in catalog.endpoints.values():
        routes = ", ".join(catalog.routes(card.id)) or "–"
        state = state_of(faults.get(card.id))
        sizes = _sizes(card) if state == "ready" else ("–", "–")
        kind = pipeline_class(card) or "–"
        table.add_row(card.id, kind, routes, *_facts(card), *sizes, state.replace("_", " "))
    return table


def _facts(card: EndpointCard) -> tuple[str, str, str]:
    steps = f"{card.steps.min}–{card.steps.max} ({card.steps.default})"
    width, height = card.sizes.native
    return steps, f"{width}×{height}", card.licence


def _sizes(card: EndpointCard) -> tuple[str, str]:
    parts = parts_of(card)
    on_gpu = sum(part.size_bytes("gpu") for part in parts)
    on_cpu = sum(part.size_bytes("cpu") for part in parts)
    return shown_bytes(bytes_on_disk(card)), f"{shown_bytes(on_gpu)} / {shown_bytes(on_cpu)}"


def _plans(catalog: Catalog, faults: Mapping[str, CardError], settings: Settings) -> Iterator[str]:
    """How endpoints are placed in a memory that somebody has named, a line each."""
    bounded = [card for card in catalog.endpoints.values() if _bound(card, settings) != AUTO]
    if not bounded:
        return
    from gateway.engine.loading.room import room_for  # noqa: PLC0415  torch takes seconds

    for card in bounded:
        if card.id in faults:
            continue
        plan = room_for(card, catalog, settings).foresee(card, parts_of(card))
        if plan is not None:
            yield f"{card.id}: {plan}"
            yield from [f"{card.id}: {plan.reason}"] * (plan.verdict == "cannot fit")


def _bound(card: EndpointCard, settings: Settings) -> str:
    return settings.memory if card.memory in {None, AUTO} else str(card.memory)


def _file_of(source: str, place: Path) -> Path | None:
    """The single file that a source is, or has in it."""
    if is_civitai(source):
        return civitai_file(source)
    return place if place.is_file() else main_file(place) if index_in(place) is None else None


def _name_of(source: str, place: Path) -> str:
    """What an endpoint is called where nobody says."""
    if not place.exists() and is_hub_id(source):
        name = source.rpartition("/")[2].lower()
    else:
        file = _file_of(source, place)
        name = file.stem if file else place.resolve().name
    return _STRANGE.sub("-", name).strip("-._") or "model"


def _named(settings: Settings, told: Told[Any]) -> Told[Any]:
    """What a card in the folder of models calls a path: by its way from there, if it is inside."""
    own = settings.models.resolve() if settings.models else None
    if own is None or not str(told.value).startswith("/") or own not in Path(told.value).parents:
        return told
    return told._replace(value=relpath(told.value, own))


def _is_of_models(settings: Settings, folder: Path) -> bool:
    """Whether a folder's card lies in it: if it is one of the folder of models, or none is said."""
    return settings.models is None or folder.resolve().parent == settings.models.resolve()


def _beside(settings: Settings, id: str) -> Path:
    if settings.models is None:
        raise SettingsError("name the folder that the card is to lie in: --models FOLDER")
    return settings.models / f"{id.replace('/', '--')}{CARDS}"


def _write(path: Path, text: str) -> None:
    """Write a card where there is none.

    Raises:
        CardError: there is one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x") as file:
            file.write(text)
    except FileExistsError:
        raise CardError("there is a card already, which is left as it is", path) from None


def _tell(card: Path, draft: Draft, id: str) -> None:
    click.echo(f"wrote {card}:")
    for line in draft.lines():
        click.echo(f"  {line}")
    folder = card.parent.parent if card.name == CARD else card.parent
    click.echo(f"serve it with: gateway serve {id} --models {folder}")
