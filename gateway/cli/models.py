"""`gateway models`: the catalogue as a table."""

from collections.abc import Mapping
from typing import Any

import click
from rich.console import Console
from rich.table import Column, Table

from gateway.catalog.bundle import full_catalog
from gateway.catalog.cards import CardError, EndpointCard
from gateway.catalog.catalog import Catalog
from gateway.catalog.survey import faults_of, state_of
from gateway.catalog.weights import pipeline_class
from gateway.cli.options import setting_options
from gateway.settings import read_settings

COLUMNS = ("pipeline", "adapters", "steps", "size", "licence")


@click.command()
@setting_options("models", "adapters")
def models(**flags: Any) -> None:
    """List every endpoint there is a card for, and what is wrong with cards and files."""
    catalog = full_catalog(read_settings(flags))
    faults = faults_of(catalog)
    Console().print(catalog_table(catalog, faults))
    for id, fault in faults.items():
        if state_of(fault) == "unusable":
            click.echo(f"gateway: {id}: {fault}", err=True)
    for stray in catalog.passed_over:
        click.echo(f"gateway: {stray}", err=True)


def catalog_table(catalog: Catalog, faults: Mapping[str, CardError]) -> Table:
    """One row per endpoint."""
    table = Table(Column("id", no_wrap=True), *COLUMNS, Column("state", no_wrap=True))
    for card in catalog.endpoints.values():
        routes = ", ".join(catalog.routes(card.id)) or "–"
        state = state_of(faults.get(card.id)).replace("_", " ")
        table.add_row(card.id, pipeline_class(card) or "–", routes, *_facts(card), state)
    return table


def _facts(card: EndpointCard) -> tuple[str, str, str]:
    steps = f"{card.steps.min}–{card.steps.max} ({card.steps.default})"
    width, height = card.sizes.native
    return steps, f"{width}×{height}", card.licence
