"""`gateway pull`: have models' files on this disk before anybody asks for them."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn
from rich.progress import TransferSpeedColumn as SpeedColumn

from gateway.catalog.bundle import full_catalog
from gateway.catalog.cards import CARD, EndpointCard
from gateway.catalog.catalog import Catalog, Model
from gateway.catalog.sources.civitai import civitai_file, is_civitai
from gateway.catalog.sources.hub import is_hub_id
from gateway.catalog.sources.weights import layout_of
from gateway.cli.options import setting_options
from gateway.fetching.fetching import Plan, fetch, is_here, plan_of
from gateway.fetching.foreseen import parts_to_come
from gateway.fetching.progress import Fetching, Tell, done_of, seldom
from gateway.settings import Settings, read_settings
from gateway.telemetry.sizes import shown_bytes


@click.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID…")
@setting_options("models", "adapters", "device", "memory")
def pull(ids: tuple[str, ...], **flags: Any) -> None:
    """Fetch the files of models that are not here.

    An ID is endpoint, endpoint:adapter, a hub id, or civitai:VERSION. What was stopped goes on
    where it was. HF_TOKEN, HF_ENDPOINT, HF_HOME, HTTPS_PROXY, CIVITAI_TOKEN and CIVITAI_ENDPOINT
    are heeded.
    """
    settings = read_settings(flags)
    catalog = full_catalog(settings)
    for id in ids:
        model = _model(id, catalog)
        while not _is_here(model) and (plan := plan_of(model)).wanted:
            _tell(id, plan)
            if told := _foretold(model, plan, catalog, settings):
                click.echo(f"{id}: {told}")
            with _shown(plan) as tell:
                fetch(model, plan, tell)
        file = civitai_file(id) if is_civitai(id) else None
        click.echo(f"{id}: all of it is here{f': {file}' if file else ''}")


def _model(id: str, catalog: Catalog) -> Model:
    """What an id means; a hub id that no card has is a whole pipeline, a version its file."""
    if is_civitai(id) or (is_hub_id(id) and id not in catalog.endpoints):
        return Model(EndpointCard(id=id, source=id, path=Path.cwd() / CARD))
    return catalog.resolve(id)


def _is_here(model: Model) -> bool:
    """Whether nothing is to be fetched; a version's file that is no model, such as a LoRA, is all.

    Raises:
        CardError: what is here is of no use.
    """
    if is_civitai(model.id) and civitai_file(model.id) and layout_of(model.endpoint) is None:
        return True
    return is_here(model)


def _tell(id: str, plan: Plan) -> None:
    click.echo(f"{id}: {len(plan.wanted)} files, {shown_bytes(plan.total_bytes)}")
    for one in plan.wanted:
        size = shown_bytes(one.file.size_bytes)
        click.echo(f"  {size:>9}  {one.repository.source}/{one.file.name}")


def _foretold(model: Model, plan: Plan, catalog: Catalog, settings: Settings) -> str | None:
    """How an endpoint will fit into its device's memory; None where nothing tells yet."""
    parts = [] if model.adapter else parts_to_come(model.endpoint, plan.wanted)
    if not parts:
        return None
    from gateway.engine.loading.room import room_for  # noqa: PLC0415  torch takes seconds

    placed = room_for(model.endpoint, catalog, settings).foresee(model.endpoint, parts)
    return placed.foretold if placed else None


@contextmanager
def _shown(plan: Plan) -> Iterator[Tell]:
    """A bar on a terminal, a line now and then elsewhere."""
    if not sys.stderr.isatty():
        yield seldom(_echo)
        return
    columns = (BarColumn(), DownloadColumn(binary_units=True), SpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        bar = bars.add_task(plan.model, total=plan.total_bytes)
        yield lambda fetching: bars.update(bar, completed=fetching.done_bytes)


def _echo(fetching: Fetching) -> None:
    click.echo(f"{fetching.model}: {done_of(fetching)}, {fetching.rate}", err=True)
