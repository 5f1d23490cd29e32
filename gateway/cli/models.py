"""`gateway models`: the catalogue as a table; `gateway models add`: one card more."""

from collections.abc import Mapping
from os.path import relpath
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Column, Table

from gateway.catalog.bundle import full_catalog
from gateway.catalog.cards import CARD, CardError, EndpointCard
from gateway.catalog.catalog import Catalog
from gateway.catalog.drafts import draft, lines_of
from gateway.catalog.hub import configs_of, is_hub_id, page_of
from gateway.catalog.inferred import Inferred, infer
from gateway.catalog.memory import memory_of
from gateway.catalog.parts import bytes_on_disk
from gateway.catalog.strays import CARDS
from gateway.catalog.survey import faults_of, state_of
from gateway.catalog.weights import INDEX, index_in, pipeline_class
from gateway.cli.options import setting_options
from gateway.settings import Settings, SettingsError, read_settings
from gateway.telemetry.sizes import shown_bytes

COLUMNS = ("pipeline", "adapters", "steps", "size", "licence", "on disk", "GPU / CPU memory")


@click.group(invoke_without_command=True)
@setting_options("models", "adapters")
@click.pass_context
def models(context: click.Context, /, **flags: Any) -> None:
    """List every endpoint there is a card for, and what is wrong with cards and files."""
    if context.invoked_subcommand is not None:
        return
    catalog = full_catalog(read_settings(flags))
    faults = faults_of(catalog)
    Console().print(catalog_table(catalog, faults))
    for id, fault in faults.items():
        if state_of(fault) == "unusable":
            click.echo(f"gateway: {id}: {fault}", err=True)
    for stray in catalog.passed_over:
        click.echo(f"gateway: {stray}", err=True)


@models.command()
@click.argument("source", metavar="PATH|HUB_ID")
@click.option("--as", "id", metavar="ID", help="id of the endpoint  [default: its own name]")
@setting_options("models")
@click.pass_context
def add(context: click.Context, /, source: str, id: str | None, **flags: Any) -> None:
    """Write a card for PATH or HUB_ID, to be edited: what its files say, and what was guessed."""
    assert context.parent
    settings = read_settings(context.parent.params | {name: v for name, v in flags.items() if v})
    place = Path(source).expanduser()
    if not place.exists() and is_hub_id(source):
        id = id or source.rpartition("/")[2].lower()
        inferred = infer(configs_of(source), id, source)
        card, named, page = _beside(settings, id), source, page_of(source)
    else:
        if index_in(place) is None:
            what = f"a folder with no {INDEX}" if place.is_dir() else "no folder"
            raise CardError(f"'{source}' is {what}, and no hub id")
        id = id or place.resolve().name
        inferred = infer(place, id, place.resolve().name)
        card, named = _for_folder(settings, place.resolve(), id)
        page = None
    _write(card, draft(inferred, id, named, page))
    _tell(card, inferred, id)


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
    needed = memory_of(card)
    return shown_bytes(bytes_on_disk(card)), " / ".join(map(shown_bytes, needed))


def _for_folder(settings: Settings, folder: Path, id: str) -> tuple[Path, str]:
    """Where a folder's card is to lie, and what it calls its source.

    In the folder itself, unless that is none of the folder of models.
    """
    if settings.models is None or folder.parent == settings.models.resolve():
        return folder / CARD, "."
    card = _beside(settings, id)
    is_inside = folder.is_relative_to(settings.models.resolve())
    return card, relpath(folder, settings.models) if is_inside else str(folder)


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


def _tell(card: Path, inferred: Inferred, id: str) -> None:
    click.echo(f"wrote {card}:")
    for line in lines_of(inferred):
        click.echo(f"  {line}")
    folder = card.parent.parent if card.name == CARD else card.parent
    click.echo(f"serve it with: gateway serve {id} --models {folder}")
